"""What the nodes do, and the inputs and outputs that both of their descriptions (nodes.py, nodes_v1.py) share.

Types are ComfyUI's: IMAGE is (B H W 3) float in [0, 1]; AUDIO is {"waveform": (B C S), "sample_rate": Hz}.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MODEL_TYPE, CATEGORY = "EMO_MODEL", "emo"
NAMES = {"EMOLoadModel": "EMO: load a model", "EMOTalkingPortrait": "EMO: talking portrait"}
MODEL_TIP = "mini (built in), a folder, or OWNER/NAME of the Hugging Face Hub"
STEPS_TIP = "denoising steps per window; 0: the model's"
GUIDANCE_TIP = "classifier-free guidance on the sound; 0: the model's, 1: off"
FULL_FACE_TIP = "the picture is a face crop or a drawing in which no face is found"
INPUTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {  # node -> input -> its type and options
    "EMOLoadModel": {"model": ("STRING", {"default": "mini", "tooltip": MODEL_TIP})},
    "EMOTalkingPortrait": {
        "model": (MODEL_TYPE, {}),
        "image": ("IMAGE", {}),
        "audio": ("AUDIO", {}),
        "fps": ("FLOAT", {"default": 25.0, "min": 1.0, "max": 120.0, "step": 0.01}),
        "seed": ("INT", {"default": 0, "min": 0, "max": 2**63 - 1}),
        "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": STEPS_TIP}),
        "guidance": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 20.0, "step": 0.1, "tooltip": GUIDANCE_TIP}),
        "full_face": ("BOOLEAN", {"default": False, "tooltip": FULL_FACE_TIP}),
    },
}
OUTPUTS = {  # node -> type and name of each output
    "EMOLoadModel": [(MODEL_TYPE, "model")],
    "EMOTalkingPortrait": [("IMAGE", "frames"), ("AUDIO", "audio"), ("FLOAT", "fps")],
}


def load_model(model: str):
    """Load a pipeline; see `emo.load_pipeline`."""
    from emo import load_pipeline

    pipeline = load_pipeline(model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_frames(
    pipeline: Any,
    image: "torch.Tensor",
    audio: dict[str, Any],
    fps: float,
    seed: int,
    steps: int,
    guidance: float,
    full_face: bool,
) -> "tuple[torch.Tensor, dict[str, Any], float]":
    """Animate the first picture of a batch by the first sound of a batch.

    Args:
        pipeline: From `load_model`.
        image: (B H W 3) in [0, 1].
        audio: ComfyUI's AUDIO.
        fps: Frames per second.
        seed: The same seed gives the same frames.
        steps: Denoising steps; 0: the model's.
        guidance: Guidance on the sound; 0: the model's.
        full_face: Whether the picture is a face crop.

    Returns:
        Frames (T H W 3) in [0, 1], the sound, and the frames per second.
    """
    import numpy as np
    import soxr
    import torch

    picture = (image[0, ..., :3].cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    wave = audio["waveform"][0].float().mean(0).cpu().numpy()
    rate = pipeline.audio_encoder.sample_rate
    samples = soxr.resample(wave, audio["sample_rate"], rate).astype(np.float32)
    frames = []
    for frame in pipeline.stream(
        picture,
        samples,
        fps=fps,
        generator=torch.Generator().manual_seed(seed),
        num_inference_steps=steps or None,
        guidance_scale=guidance or None,
        face="full" if full_face else None,
        output_type="pt",
    ):
        frames.append(frame.permute(1, 2, 0))
        report_progress(len(frames), round(len(samples) / rate * fps))
    return torch.stack(frames), audio, fps


def report_progress(done: int, total: int) -> None:
    """Move ComfyUI's progress bar, and stop where its user has cancelled; outside of ComfyUI nothing happens."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
    except ImportError:
        return
    throw_exception_if_processing_interrupted()
    ProgressBar(total).update_absolute(done, total)
