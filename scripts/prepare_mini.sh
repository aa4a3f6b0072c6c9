#!/bin/sh
# Prepares the clips that `mini` is trained on, from data/train (see configs/mini/README.md): those of GRID, heads that
# speak and move, some of them as GRID's talkers do, and drawn heads for the landmark refiners. Existing clips are not
# made again.
# HOURS=2 WORKERS=2 scripts/prepare_mini.sh FACE_MODEL KOKORO
set -e
face_model=${1:?name the folder of the face model} kokoro=${2:?name the folder of Kokoro-82M}
emo-prepare videos data/train/grid data/clips/grid --size 256 --hold-out datasets/hold_out.txt \
    --labels data/labels/grid --limits min_seconds=1 # sentences of GRID last 3 s
scripts/prepare_heads.sh data/train/faces "$face_model" "$kokoro" data/clips/heads data/clips/grid
emo-prepare synth data/train/drawn --text configs/mini/sentences.txt --count 60 --size 384 --seconds 3 --seed 1000
