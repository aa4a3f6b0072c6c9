"""Raw samples through the frozen parts: pictures become latents, sound features; what a Batch of held clips holds."""

import torch
from torch import Tensor

from emo.data.dataset import Batch, encode_frames, stacked
from emo.data.sample import Window, region_mask
from emo.data.stream import RawSample
from emo.models.audio import AudioEncoder


@torch.no_grad()
def encode_batch(
    samples: list[RawSample],
    window: Window,
    vae: torch.nn.Module,
    audio_encoder: AudioEncoder,
    device: torch.device,
    bf16: bool = False,
) -> Batch:
    """bf16: the pictures in half precision. Only the frames of the samples are encoded; the sound is heard whole, as it
    is in a held clip."""
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        latents = encode_frames(vae, torch.cat([sample.frames for sample in samples]).numpy(), device).float()
    parts = latents.split([len(sample.frames) for sample in samples])
    rows = [fields(sample, part, window, audio_encoder) for sample, part in zip(samples, parts, strict=True)]
    return stacked(rows, [sample.name for sample in samples])


def fields(sample: RawSample, latents: Tensor, window: Window, audio_encoder: AudioEncoder) -> list[Tensor]:
    """latents (M+F+1 C H W) or, without frames before, (F+1 C H W) -> the tensors of a Batch, without B."""
    motion, rows, reference = latents[: -window.num_frames - 1], latents[-window.num_frames - 1 : -1], latents[-1]
    if not len(motion):
        motion = latents.new_zeros(window.motion_frames, *latents.shape[1:])
    wave, device = sample.wave[None].to(latents.device), latents.device
    features = audio_encoder(wave, 0, sample.num_frames, sample.fps)[0].float()  # (T W D)
    audio = features[sample.heard.to(device)] * sample.inside.to(device)[:, None, None]
    region = region_mask(sample.face_box, latents.shape[-1])
    known = [value.to(device) for value in (sample.lips, region, sample.head_speed)]
    return [rows, reference, motion, audio, *known]
