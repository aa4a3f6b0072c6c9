"""Where models come from: a name, a folder or a Hub id -> a pipeline whose weights are all there."""

from pathlib import Path

import torch

from emo.core.download import single_file, snapshot
from emo.core.errors import InputError
from emo.hub.registry import BUILT_IN, KNOWN
from emo.models.loading import load_part, trained_parts
from emo.models.lora import CONFIG, WEIGHTS
from emo.pipelines.emo import EMOPipeline

PART_WEIGHTS = (  # of diffusers, then of transformers; the first that is there is taken
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def resolve(model: str, revision: str | None = None, cache_dir: str | None = None, token: str | None = None) -> Path:
    """A folder, or one downloaded from the Hub for `owner/name`: of a revision, into a cache, with a token, or what
    huggingface_hub takes without.

    Raises InputError when there is no such folder, name or repository, no way to it, weights must be converted, or a
    folder has a revision.
    """
    folder = BUILT_IN.get(model, Path(model))
    if (folder / "model_index.json").is_file():
        if revision is not None:
            raise InputError(f"--revision {revision}: --model {model} lies here and has none, leave it out")
        return folder
    if model in KNOWN:
        raise InputError(KNOWN[model].how_to_get)
    if folder.exists() or model.count("/") != 1 or model.startswith((".", "/")):
        names = "mini, or a name that emo-models lists"
        raise InputError(f"--model {model} is no model: give a folder with model_index.json, a Hub id, {names}")
    options = {"revision": revision, "cache_dir": cache_dir, "token": token}
    at = f" --revision {revision}" if revision else ""
    return snapshot(f"--model {model}{at}: no such folder", model, **options)


def find_weights(given: str, option: str = "--syncnet", usual: str = "syncnet_v2.model") -> Path:
    """A file of published weights, or one downloaded from the Hub for owner/name/file; no file named, the usual one.

    Raises InputError, which names the option, when there is no such file, here or there, or no way to it.
    """
    path, (owner, *rest) = Path(given), given.split("/", 2)
    if path.is_file():
        return path
    if path.exists() or not owner.strip(".") or not rest:
        raise InputError(f"{option} {given} is no file: give {usual}, or OWNER/NAME/FILE of the Hub")
    name, file = rest if len(rest) == 2 else (*rest, usual)
    return single_file(f"{option} {given}: no such file", f"{owner}/{name}", file)


def find_part(setting: str, given: str | None, subfolder: str) -> Path:
    """The folder of a part's config.json and weights: `given` or its `subfolder`, as diffusers and transformers lay
    them out, here or on the Hub (OWNER/NAME).

    Raises InputError, which names the setting, when there is none, or no way to it.
    """
    if given is None or not Path(given).is_dir() and (given.count("/") != 1 or given.startswith((".", "/"))):
        raise InputError(f"{setting}={given}: give the folder of a trained one, or a Hub id")
    folder = Path(given) if Path(given).is_dir() else download_part(setting, given, subfolder)
    for place in (folder / subfolder, folder):
        if (place / "config.json").is_file():
            return place
    raise InputError(f"{setting}={given} holds no config.json, and no {subfolder}/ with one: give another")


def download_part(setting: str, name: str, subfolder: str) -> Path:
    """The Hub's repository as a folder, with no more of it than the part's config.json and one file of weights."""
    for weights in PART_WEIGHTS:
        wanted = [f"{place}{file}" for place in ("", f"{subfolder}/") for file in ("config.json", weights)]
        folder = snapshot(f"{setting}={name}: no such folder", name, allow_patterns=wanted)
        if (folder / weights).is_file() or (folder / subfolder / weights).is_file():
            break
    return folder


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def find_lora(given: str) -> Path:
    """The folder of LoRA adapters: `given` or its lora/, here or on the Hub. Raises InputError when there is none."""
    if not Path(given).is_dir() and (given.count("/") != 1 or given.startswith((".", "/"))):
        raise InputError(f"--lora {given} is no folder: give one with {CONFIG}, or a Hub id")
    wanted = [f"{place}{file}" for place in ("", "lora/") for file in (CONFIG, WEIGHTS)]
    missing = f"--lora {given}: no such folder"
    folder = Path(given) if Path(given).is_dir() else snapshot(missing, given, allow_patterns=wanted)
    for place in (folder, folder / "lora"):
        if (place / CONFIG).is_file():
            return place
    raise InputError(f"--lora {given} holds no {CONFIG}, and no lora/ with one: give what emo-train left")


def load_pipeline(
    model: str = "mini",
    device: str | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    lora: str | None = None,
) -> EMOPipeline:
    """An EMOPipeline on its device. model, revision: see `resolve`; device None: the best there is; lora: adapters that
    are merged into its weights, see `find_lora`.

    Raises InputError for an unknown model, missing or extra weights, or a device that is not there.
    """
    folder, device = resolve(model, revision), device or best_device()
    if device == "cpu" and dtype == "float16":
        raise InputError("--dtype float16 crawls on a CPU: use float32 or bfloat16")
    loaded = {name: load_part(folder / name, getattr(torch, dtype)) for name in trained_parts(folder)}
    try:
        pipeline = EMOPipeline.from_pretrained(folder, **loaded).to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device} can't be used: {str(error).splitlines()[0]}") from error
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder} is no EMO pipeline: {str(error).splitlines()[0]}") from error
    if lora is not None:
        pipeline.load_lora_weights(find_lora(lora))
        pipeline.fuse_lora()
    return pipeline
