#!/bin/sh
# `mini` from its clips, run after run; each goes on where it stopped. The result is runs/mini/student/model.
set -e
for run in face lips eye autoencoder audio stage1 stage2 stage3 student; do
    emo-train configs/mini/$run.yaml
done
