#!/bin/sh
# Trains `mini` on motion latents from its clips, one run after the other; the same command resumes an interrupted one.
# Arguments are settings of all runs. The result is runs/mini/diffusion/model, which `emo-infer --model` takes.
set -e
for run in face mouth_refiner eye_refiner motion_autoencoder audio motion/diffusion; do
    emo-train configs/mini/$run.yaml "$@"
done
