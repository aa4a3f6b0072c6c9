#!/bin/sh
# Puts a trained diffusion run, and a motion autoencoder whose encoder and motion head are those of its training, into
# one pipeline in half precision: scripts/assemble_mini.sh RUN/model AUTOENCODER/model OUT
set -e
python - "${1:?name the pipeline of a diffusion run}" "${2:?name a motion autoencoder}" "${3:?name a new folder}" <<'END'
import json
import sys
from pathlib import Path

import torch

from emo import EMOPipeline, MotionAutoencoder
from emo.core.files import atomic_folder

MAX_MEGABYTES, OUTPUT_PIXELS = 48, 512  # the portrait is warped at this size, whatever the autoencoder's own
NOT_SHIPPED = ("_name_or_path", "scaling_factor")  # a folder of this machine; what the autoencoder once had
run, autoencoder, out = sys.argv[1:]
pipeline, painted = EMOPipeline.from_pretrained(run), MotionAutoencoder.from_pretrained(autoencoder).eval()
for name, weight in pipeline.vae.state_dict().items():
    if not name.startswith("painters") and not torch.allclose(weight, painted.state_dict()[name], rtol=1e-3, atol=1e-3):
        sys.exit(f"{autoencoder}: {name} is not that of {run}: its latents mean other motion")
pipeline.register_modules(vae=painted)
pipeline.register_to_config(size=OUTPUT_PIXELS)
with atomic_folder(Path(out)) as folder:
    pipeline.to(torch.float16).save_pretrained(folder)
    for path in folder.rglob("*.json"):
        config = {name: value for name, value in json.loads(path.read_text()).items() if name not in NOT_SHIPPED}
        path.write_text(json.dumps(config, indent=2) + "\n")
size = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file()) / 1e6
print(f"{out}: {size:.1f} MB")
if size > MAX_MEGABYTES:
    sys.exit(f"{out} is larger than {MAX_MEGABYTES} MB")
END
