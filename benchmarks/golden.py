"""Compare our outputs with those of Hallo's own code on small networks.

    python benchmarks/golden.py FOLDER

FOLDER holds config.json, net.safetensors (what net.pth holds), vae.safetensors and cases.safetensors (inputs and
outputs of the original code, in evaluation mode). It prints the largest difference of each case, and ends with 1 where
one is above 1e-4.
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from safetensors.torch import load_file
from torch import Tensor

from emo.hub.convert.hallo import infer_config, rename_keys, reshape_weight
from emo.models.audio import AudioEncoder
from emo.models.autoencoder import decode_latents, encode_images
from emo.models.conditions import Conditions
from emo.models.hallo import HalloModel
from emo.models.layers import AudioRegions
from emo.pipelines.guidance import SamplingOptions
from emo.pipelines.hallo import HalloGuidance, HalloPipeline
from emo.pipelines.inputs import open_audio

BAR = 1e-4


class FixedFeatures(AudioEncoder):
    """Returns the features (T W D) that it was given, whatever the audio."""

    past_seconds = future_seconds = 0.0

    def __init__(self, features: Tensor):
        super().__init__()
        self.features = features

    def forward(self, wave, first_frame, num_frames, fps, start_seconds=0.0) -> Tensor:
        return self.features[None, first_frame : first_frame + num_frames]


def read_model(folder: Path, config: dict) -> HalloModel:
    """The model; each frame's stack of 5 features is given as layers of one frame, as stacks do not overlap."""
    weights = {name: weight.float() for name, weight in load_file(folder / "net.safetensors").items()}
    settings = infer_config({name: weight.shape for name, weight in weights.items()}, training_mode=False)
    settings |= {"norm_num_groups": config["unet"]["norm_num_groups"], "temporal_norm_groups": 32}
    settings |= {"num_frames": config["frames"], "num_motion_frames": config["motion_frames"]}
    model = HalloModel(**settings | {"audio_margin": 0, "audio_layers": 5 * settings["audio_layers"]})
    ours = {
        our: reshape_weight(our, weights[their])
        for their, our in rename_keys(list(weights), training_mode=False).items()
    }
    model.load_state_dict(ours)
    return model.eval()


def read_vae(folder: Path, config: dict) -> AutoencoderKL:
    levels = len(config["vae"]["block_out_channels"])
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    vae = AutoencoderKL(**config["vae"], **kinds)
    vae.load_state_dict(load_file(folder / "vae.safetensors"))
    return vae.eval()


def read_conditions(cases: dict[str, Tensor], config: dict) -> Conditions:
    """The conditions that all cases share: identity, face region, audio regions."""
    masks, scales = [], torch.ones(1, 4, 3)
    for level in range(4):
        parts = torch.stack([cases[f"mask_{region}_{level}"] for region in ("full", "face", "lip")])
        masks.append(parts.unflatten(1, (int(parts.shape[1] ** 0.5), -1))[None])
    scales[:, -1] = torch.tensor(config["motion_scale"])  # in evaluation mode they reach the middle alone
    regions = AudioRegions(masks, scales)
    return Conditions(face_region=cases["face_region"][None], identity=cases["face_embedding"], audio_regions=regions)


def make_run(model: HalloModel, vae: AutoencoderKL, cases: dict[str, Tensor], config: dict) -> Tensor:
    """Frames (12 3 H W) in [0, 1] of two windows, by the pipeline's own loop."""
    scheduler, steps = DDIMScheduler(**config["scheduler"]), config["num_inference_steps"]
    pipeline = HalloPipeline(model, vae, FixedFeatures(cases["audio_stacks"].flatten(1, 2)), scheduler)
    still = read_conditions(cases, config)
    still.reference = encode_images(vae, cases["portrait"][None])
    noise = iter(cases["run_noise"].transpose(1, 2)[:, None])
    wave = torch.zeros(len(cases["audio_stacks"]) * 640).numpy()  # 40 ms a frame
    sampling = SamplingOptions(steps, HalloGuidance(config["guidance_scale"]))
    with patch("emo.pipelines.emo.randn_tensor", lambda *_, **__: next(noise)):
        windows = pipeline._windows(open_audio(wave, 16000), still, {}, 25.0, sampling, cases["portrait"][None])
        latents = torch.cat(list(windows))
    return (decode_latents(vae, latents) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def differences(folder: Path) -> dict[str, float]:
    """The largest difference of each case."""
    cases, config = load_file(folder / "cases.safetensors"), json.loads((folder / "config.json").read_text())
    model, vae, clip = read_model(folder, config), read_vae(folder, config), read_conditions(cases, config)
    count = config["frames"]
    clip.audio = cases["audio_stacks"][:count].flatten(1, 2)[None]
    clip.reference, clip.motion = cases["step_reference_latents"][:1], cases["step_reference_latents"][None, 1:]
    step = model(cases["step_latents"].transpose(0, 1)[None], cases["step_timestep"], clip)[0].transpose(0, 1)
    made = {
        "audio_tokens": model.audio_projection(clip.audio)[0],
        "identity_tokens": model.encode_identity(clip.identity)[0],
        "located": model.face_locator(clip.face_region)[0, :, None].expand(-1, count, -1, -1),
        "step_output": step,
        "run_frames": make_run(model, vae, cases, config),
    }
    return {name: (output - cases[name]).abs().max().item() for name, output in made.items()}


def main() -> None:
    found = differences(Path(sys.argv[1]))
    for name, difference in found.items():
        print(f"{name}: {difference:.1e}")
    sys.exit(not all(difference <= BAR for difference in found.values()))


if __name__ == "__main__":
    main()
