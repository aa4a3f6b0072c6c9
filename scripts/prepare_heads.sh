#!/bin/sh
# Prepares clips of photographs that a 3D face model animates, as configs/mini trains on; the same
# command continues an interrupted run.
# HOURS=5 WORKERS=2 scripts/prepare_heads.sh FACES FACE_MODEL KOKORO OUT DRIVERS...
set -e
faces=${1:?} model=${2:?} kokoro=${3:?} out=${4:?}
shift 4
hold_out=datasets/heads_hold_out.txt
common="--face-model $model --kokoro $kokoro --hold-out $hold_out --size ${SIZE:-256} --workers ${WORKERS:-1}"
[ $# -eq 0 ] || common="$common --drivers $*"
emo-prepare heads "$faces" "$out/train" --hours "${HOURS:-2}" $common
emo-prepare heads "$faces" "$out/held_out" --hours 0.2 --part held_out $common
