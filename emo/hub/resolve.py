"""Resolve what users name, a built-in name, a folder, a file or a Hub id, to files on this machine, and load
pipelines."""

import os
from pathlib import Path

import torch

from emo.core.download import download_file, download_snapshot, is_hub_id
from emo.core.errors import InputError
from emo.hub.registry import REGISTERED_MODELS
from emo.models.loading import BUILT_IN_MODELS, INDEX, find_pipeline
from emo.models.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from emo.pipelines.emo import EMOPipeline

FEW_PARAMETERS = 50e6  # of a small model
WEIGHT_FILES = (  # of diffusers, then of transformers; the first that exists is used
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def resolve_model(
    model: str, revision: str | None = None, cache_dir: str | None = None, token: str | None = None
) -> Path:
    """Return the folder of a pipeline; one of the Hub is downloaded.

    Args:
        model: A built-in name (mini), a folder, or a Hub id (OWNER/NAME).
        revision: Branch, tag or commit of a Hub id.
        cache_dir: Where downloads are stored; None: where huggingface_hub stores them.
        token: Token for private models of the Hub.

    Returns:
        A folder with model_index.json.

    Raises:
        InputError: There is no such model, it must be converted first, it can't be downloaded, or a revision is
            given for a local folder.
    """
    if model in REGISTERED_MODELS and not (Path(model) / INDEX).is_file():
        raise InputError(REGISTERED_MODELS[model].instructions)
    return find_pipeline(model, revision, cache_dir=cache_dir, token=token)


def find_weights_file(given: str, parameter: str = "syncnet=", file: str = "syncnet_v2.model") -> Path:
    """Return a file of published weights; one of the Hub is downloaded.

    Args:
        given: A file, or OWNER/NAME or OWNER/NAME/FILE of the Hub.
        parameter: Text with which messages begin.
        file: The file's name where `given` does not say it.

    Returns:
        The file.

    Raises:
        InputError: There is no such file, or it can't be downloaded.
    """
    path, (owner, *rest) = Path(given), given.split("/", 2)
    label = f"{parameter}{given}" if parameter.endswith("=") else f"{parameter} {given}"
    if path.is_file():
        return path
    if path.exists() or not owner.strip(".") or not rest:
        raise InputError(f"{label} is not a file: give {file}, or OWNER/NAME/FILE of the Hub")
    name, remote = rest if len(rest) == 2 else (*rest, file)
    return download_file(f"{label}: no such file", f"{owner}/{name}", remote)


def find_component(setting: str, given: str | None, subfolder: str) -> Path:
    """Return the folder of a component, as diffusers and transformers lay them out.

    Args:
        setting: Name of the setting, with which messages begin.
        given: A built-in name (mini), or a folder or Hub id (OWNER/NAME): the component itself, or a pipeline that has
            it in `subfolder`.
        subfolder: The component's name.

    Returns:
        A folder with config.json.

    Raises:
        InputError: There is no such component, or it can't be downloaded.
    """
    folder = BUILT_IN_MODELS.get(given or "", Path(given or ""))
    if given is None or not (folder.is_dir() or is_hub_id(given)):
        raise InputError(f"{setting}={given}: give the folder of a trained one, or a Hub id")
    folder = folder if folder.is_dir() else download_component(setting, given, subfolder)
    for place in (folder / subfolder, folder):
        if (place / "config.json").is_file():
            return place
    raise InputError(f"{setting}={given} holds no config.json, and no {subfolder}/ with one: give another")


def download_component(setting: str, name: str, subfolder: str) -> Path:
    """Download a component's config.json and one file of weights, and nothing else of its repository.

    Args:
        setting: Name of the setting, with which messages begin.
        name: Hub id (OWNER/NAME).
        subfolder: Name of the component.

    Returns:
        The folder of the download.

    Raises:
        InputError: The files can't be downloaded.
    """
    for weights in WEIGHT_FILES:
        wanted = [f"{place}{file}" for place in ("", f"{subfolder}/") for file in ("config.json", weights)]
        folder = download_snapshot(f"{setting}={name}: no such folder", name, allow_patterns=wanted)
        if (folder / weights).is_file() or (folder / subfolder / weights).is_file():
            break
    return folder


def find_lora(given: str) -> Path:
    """Return the folder of LoRA adapters.

    Args:
        given: A folder or a Hub id (OWNER/NAME), with the adapters in it or in its lora/.

    Returns:
        A folder with adapter_config.json.

    Raises:
        InputError: There are no such adapters, or they can't be downloaded.
    """
    if not (Path(given).is_dir() or is_hub_id(given)):
        raise InputError(f"lora={given} is not a folder: give one with {ADAPTER_CONFIG}, or a Hub id")
    wanted = [f"{place}{file}" for place in ("", "lora/") for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)]
    missing = f"lora={given}: no such folder"
    folder = Path(given) if Path(given).is_dir() else download_snapshot(missing, given, allow_patterns=wanted)
    for place in (folder, folder / "lora"):
        if (place / ADAPTER_CONFIG).is_file():
            return place
    raise InputError(f"lora={given} holds no {ADAPTER_CONFIG}, and no lora/ with one: give what emo-train saved")


def select_device() -> str:
    """Return the best device of this machine: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_pipeline(
    model: str = "mini",
    device: str | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    lora: str | None = None,
) -> EMOPipeline:
    """Load a pipeline onto its device.

    On a CPU a small model computes with one thread from then on, unless OMP_NUM_THREADS is set: dividing small tensors
    between two threads takes longer than what it saves.

    Args:
        model: A built-in name (mini), a folder, or a Hub id (OWNER/NAME).
        device: Name of a torch device, such as cuda; None: the best of this machine.
        dtype: Name of the weights' type: float32, bfloat16 or float16.
        revision: Branch, tag or commit of a Hub id.
        lora: Adapters that are merged into the weights: a folder or a Hub id; None: none.

    Returns:
        The pipeline.

    Raises:
        InputError: The model is unknown, weights are missing or unexpected, or the device can't be used.
    """
    folder, device = resolve_model(model, revision), device or select_device()
    if device == "cpu" and dtype == "float16":
        raise InputError("dtype=float16 is very slow on a CPU: use float32 or bfloat16")
    pipeline = EMOPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    try:
        pipeline = pipeline.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={device} can't be used: {str(error).splitlines()[0]}") from error
    if lora is not None:
        pipeline.load_lora_weights(find_lora(lora))
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    if device == "cpu" and "OMP_NUM_THREADS" not in os.environ and pipeline.model.num_parameters() < FEW_PARAMETERS:
        torch.set_num_threads(1)
    return pipeline
