#!/bin/sh
# Trains `mini` from its clips, one run after the other; the same command resumes an interrupted one. The result is
# runs/mini/student/model.
set -e
for run in face mouth_refiner eye_refiner autoencoder audio stage1 stage2 stage3 student; do
    emo-train configs/mini/$run.yaml
done
