"""Load weights strictly: none missing, none left over.

Pipelines and their components come from folders in diffusers' layout (`model_index.json`, then one folder per
component), networks of others from the files that their authors published. Pickled files are read as tensors only, so
nothing in them runs.
"""

import json
import pickle
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import diffusers
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emo.core.download import download_snapshot, is_hub_id
from emo.core.errors import InputError
from emo.models.audio import Wav2VecEncoder

INDEX = "model_index.json"
PIPELINE_CLASSES = ("EMOPipeline", "HalloPipeline")
BUILT_IN_MODELS = {"mini": Path(__file__).parents[1] / "weights" / "mini"}

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class PublishedWeights:
    """A file of weights that others have published."""

    name: str  # of the network
    file: str  # its usual name
    source: str = ""  # address and license


def list_built_in_models_with(control: str) -> list[str]:
    """Return the names of the built-in models that have a control, such as gaze."""
    configs = {name: folder / "model" / "config.json" for name, folder in BUILT_IN_MODELS.items()}
    return [name for name, path in configs.items() if control in json.loads(path.read_text()).get("controls", ())]


def read_published_weights(path: Path) -> dict:
    """Contents of a .safetensors file, or of a file of torch.save that holds only tensors and plain containers."""
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)


def load_published_weights(
    net: Net, path: Path, published: PublishedWeights, select: Callable[[dict], dict[str, Tensor]] = dict
) -> Net:
    """Load published weights into a network by name, strictly.

    Args:
        net: The network; it is changed.
        path: Path of the file.
        published: What the file should be.
        select: Contents of the file -> the network's weights by name.

    Returns:
        The network in evaluation mode, without gradients.

    Raises:
        InputError: When the file is missing or not such a file, or weights are missing, left over or of another shape.
    """
    try:
        net.load_state_dict(select(read_published_weights(path)))
    except Exception as error:  # the readers raise many kinds on a broken file
        unsafe = isinstance(error, pickle.UnpicklingError)
        reason = "it is not a torch.save of weights alone" if unsafe else " ".join(str(error).split())[:200]
        fix = f"get {published.file}" + (f" from {published.source}" if published.source else " again")
        reason = reason or type(error).__name__
        raise InputError(f"{path} can't be loaded as {published.name} ({reason}): {fix}") from error
    return net.eval().requires_grad_(False)


def find_pipeline(name: str | Path, revision: str | None = None, **hub_options) -> Path:
    """Return the folder of a pipeline; one of the Hub is downloaded and verified.

    Args:
        name: A built-in name (mini), a folder, or a Hub id (OWNER/NAME).
        revision: Branch, tag or commit of a Hub id.
        hub_options: cache_dir, token, local_files_only, force_download of `huggingface_hub.snapshot_download`.

    Returns:
        A folder with model_index.json.

    Raises:
        InputError: When there is no such model, it can't be downloaded, or a revision is given for a local folder.
    """
    folder = BUILT_IN_MODELS.get(str(name), Path(name))
    if (folder / INDEX).is_file():
        if revision is not None:
            raise InputError(f"revision={revision}: model={name} is a local folder and has none, leave it out")
        return folder
    if folder.exists() or not is_hub_id(str(name)):
        names = ", ".join(BUILT_IN_MODELS)
        raise InputError(
            f"model={name} is not a model: give a folder with {INDEX}, a Hub id (OWNER/NAME), or a name: {names}"
        )
    at = f" revision={revision}" if revision else ""
    return download_snapshot(f"model={name}{at}: no such folder", str(name), revision=revision, **hub_options)


def read_model_index(folder: Path) -> dict:
    """Contents of a pipeline's model_index.json.

    Raises:
        InputError: When it is not that of a pipeline of this package.
    """
    path = folder / INDEX
    try:
        index = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): download the model again") from error
    if not isinstance(index, dict) or index.get("_class_name") not in PIPELINE_CLASSES:
        raise InputError(f"{path} has no _class_name {' or '.join(PIPELINE_CLASSES)}: download the model again")
    return index


def list_components(folder: Path) -> list[str]:
    """Names of the components that have weights, from a pipeline's model_index.json.

    Raises:
        InputError: See `read_model_index`.
    """
    return [name for name, value in read_model_index(folder).items() if isinstance(value, list) and name != "scheduler"]


def load_components(
    folder: Path,
    dtype: torch.dtype | dict[str, torch.dtype] | None = None,
    variant: str | None = None,
    skip: Container[str] = (),
) -> dict[str, nn.Module]:
    """Load the components of a pipeline that have weights, strictly.

    Args:
        folder: Folder of the pipeline.
        dtype: Data type of the weights in memory, or one for each component by name; float32 by default.
        variant: See `load_component`.
        skip: Names of components that are not loaded.

    Returns:
        Name -> component.

    Raises:
        InputError: See `read_model_index` and `load_component`.
    """
    dtypes = dtype if isinstance(dtype, dict) else {"default": dtype or torch.float32}
    default = dtypes.get("default", torch.float32)
    names = [name for name in list_components(folder) if name not in skip]
    return {name: load_component(folder / name, dtypes.get(name, default), variant) for name in names}


def load_component(folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None) -> nn.Module:
    """Loads one component strictly, of the class that its config.json names: ours, diffusers', or transformers' wav2vec
    2.0.

    Args:
        folder: With config.json and weights.
        dtype: Data type of the weights in memory.
        variant: Variant of the file names, such as fp16; None: the plain files, or those of fp16 where there are no
            others.

    Returns:
        The component in evaluation mode.

    Raises:
        InputError: When a file is missing or broken, or weights are missing or left over.
    """
    try:
        component, info = open_component(folder, dtype, variant)
    except Exception as error:  # the libraries raise many kinds on a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder} can't be loaded ({reason}): download the model again") from error
    for verb, names in {"lacks": info["missing_keys"], "has unknown": info["unexpected_keys"]}.items():
        raise_for_names(names, f"{folder} {verb}", "download the model again")
    return component.eval()


def open_component(folder: Path, dtype: torch.dtype, variant: str | None = None) -> tuple[nn.Module, dict]:
    """Open a component of a pipeline.

    Args:
        folder: Folder with config.json and weights.
        dtype: Data type of the weights in memory.
        variant: Variant of the file names, such as fp16; None: the plain files, or fp16 where there are no others.

    Returns:
        The component, and the names of missing and unexpected weights as diffusers reports them.
    """
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") == "wav2vec2":
        return Wav2VecEncoder.from_wav2vec(str(folder)).to(dtype), {"missing_keys": [], "unexpected_keys": []}
    name = config["_class_name"]
    component_class = getattr(import_module("emo"), name, None) or getattr(diffusers, name)
    files = list(folder.glob("diffusion_pytorch_model*"))
    variants = {path.name for path in files if f".{variant or 'fp16'}." in path.name}
    if variant is None and variants and len(variants) == len(files):
        variant = "fp16"
    elif not variants:
        variant = None  # as diffusers does for a component without files of the variant
    options = {"torch_dtype": dtype, "variant": variant, "low_cpu_mem_usage": False}
    return component_class.from_pretrained(folder, output_loading_info=True, **options)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Weights by name from a folder of `save_pretrained`, in one file or several.

    Raises:
        InputError: When there are none.
    """
    files = sorted(folder.glob("diffusion_pytorch_model*.safetensors"))
    if not files:
        path = folder / "diffusion_pytorch_model.safetensors"
        raise InputError(f"{path} does not exist: give the model/ of a run")
    return {name: weight for file in files for name, weight in load_file(file).items()}


def load_weights(model: nn.Module, given: dict[str, dict[str, Tensor]], new: list[str], unused: list[str]) -> None:
    """Load weights from several sources by name.

    Args:
        model: It is changed, unless an error is raised.
        given: Description of a source -> its weights by the model's names.
        new: Patterns of the model's names that no source has; those weights stay as they are.
        unused: Patterns of the sources' names that are not loaded.

    Raises:
        InputError: When any other name is missing or left over, a shape differs, two sources have the same name, a
            source has a name of `new`, or a pattern matches nothing.
    """
    own, taken, sources = model.state_dict(), {}, " and ".join(given)
    names = [name for weights in given.values() for name in weights]
    check_patterns_used(names, unused, f"unused_weights: no name in {sources}")
    for source, weights in given.items():
        weights = {name: weights[name] for name in weights.keys() - match_patterns(weights, unused)}
        check_source(source, weights, own)
        raise_for_names(weights.keys() & taken.keys(), f"{sources} both have", "leave one of them out")
        taken |= weights
    missing, fix = own.keys() - taken.keys(), "it matches `new_weights`, make that narrower, or add to `unused_weights`"
    raise_for_names(match_patterns(taken, new), f"{sources} has", fix)
    check_patterns_used(missing, new, "new_weights: no name of the model")
    left = missing - match_patterns(missing, new)
    raise_for_names(left, f"{sources} lacks", "change `model`, or add to `new_weights`")
    model.load_state_dict(taken, strict=False)


def check_source(source: str, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Check that a source's weights belong to the model.

    Args:
        source: Name of the source, for the message.
        weights: Weights of the source by name.
        own: Weights of the model by name.

    Raises:
        InputError: The model lacks a weight of the source, or has it in another shape.
    """
    left = weights.keys() - own.keys()
    raise_for_names(left, f"{source} has weights that the model lacks:", "change `model`, or add to `unused_weights`")
    other = [name for name, weight in weights.items() if weight.shape != own[name].shape]
    raise_for_names(other, f"{source} has other shapes than the model:", "change `model` to the sizes of these weights")


def match_patterns(names: Iterable[str], patterns: list[str]) -> set[str]:
    """Return the names that match any of the patterns.

    Args:
        names: Names.
        patterns: Patterns with * and ?, as in file names.

    Returns:
        The matching names.
    """
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


def check_patterns_used(names: Iterable[str], patterns: list[str], before: str) -> None:
    """Check that every pattern matches a name.

    Args:
        names: Names.
        patterns: Patterns with * and ?, as in file names.
        before: Start of the message.

    Raises:
        InputError: A pattern matches no name.
    """
    raise_for_names([p for p in patterns if not match_patterns(names, [p])], f"{before} matches", "remove it")


def raise_for_names(names: Iterable[str], before: str, fix: str) -> None:
    """Raise an error that shows the first of the names and their number, if there are any.

    Args:
        names: Names that are wrong.
        before: Start of the message.
        fix: What to do.

    Raises:
        InputError: There are names.
    """
    if names := sorted(names):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise InputError(f"{before} {names[0]!r}{more}: {fix}")
