#!/bin/sh
# Prepares the clips that `mini` is trained on, from data/train (see configs/mini/README.md). Existing clips are not
# made again.
set -e
hold_out="--hold-out datasets/hold_out.txt"
short="--limits min_seconds=1" # sentences of GRID last 3 s
emo-prepare videos data/train/grid data/clips/grid --size 256 $hold_out --labels data/labels/grid --per-person 580 $short
emo-prepare videos data/train/videos data/clips/videos --size 256 $hold_out --labels data/labels/videos $short
emo-prepare stills data/train/faces data/clips/stills --size 256 $hold_out --labels data/labels/faces \
    --drivers data/clips/grid --stylized-ratio 0.5 --recolored-lips-ratio 0.6 --takes 2
emo-prepare synth data/train/drawn --text configs/mini/sentences.txt --count 60 --size 384 --seconds 3 --seed 1000
