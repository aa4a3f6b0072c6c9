#!/bin/sh
# Trains the full model from Stable Diffusion 1.5, AnimateDiff and wav2vec 2.0, one stage after the other; the same
# command resumes an interrupted one. Arguments are passed to `accelerate launch`. The batch size must be a multiple of
# the number of GPUs; on 64:
#   IMAGES=64 CLIPS=64 scripts/train_three_stages.sh --config_file FILE
# The result is runs/stage3/model.
set -e
accelerate launch "$@" -m emo.cli.train configs/stage1.yaml "batch_size=${IMAGES:-48}"
accelerate launch "$@" -m emo.cli.train configs/stage2.yaml "batch_size=${CLIPS:-4}"
accelerate launch "$@" -m emo.cli.train configs/stage3.yaml "batch_size=${CLIPS:-4}"
