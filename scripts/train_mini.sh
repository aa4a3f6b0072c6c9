#!/bin/sh
# Trains `mini` from its clips, one run after the other, and joins the parts; the same command resumes an interrupted
# one. Arguments are settings of all runs. The result is runs/mini/model, which `emo-infer --model` takes.
set -e
for run in face mouth_refiner eye_refiner audio motion_autoencoder diffusion painters; do
    emo-train configs/mini/$run.yaml "$@"
done
scripts/assemble_mini.sh runs/mini/diffusion/model runs/mini/painters/model runs/mini/model
