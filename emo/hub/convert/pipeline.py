"""Convert published parts to the folder of a HalloPipeline: net.pth of Hallo or Hallo2, Stable Diffusion's VAE, wav2vec
2.0.

Weights are read tensor by tensor and written as safetensors: no file is in memory as a whole, none is run.
"""

import json
import pickle
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from emo.core.errors import InputError
from emo.hub.convert.hallo import infer_config, rename_keys, reshape_weight
from emo.models.audio import Wav2VecEncoder
from emo.models.hallo import HalloModel
from emo.models.loading import load_component, raise_for_names
from emo.pipelines.hallo import HalloPipeline

SCHEDULER = {  # of Hallo's inference: v-prediction, the last step without signal (arXiv 2305.08891)
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
LICENSES = {
    "net": "Hallo and Hallo2: MIT (its UNets started from Stable Diffusion 1.5, CreativeML OpenRAIL-M, whose use "
    "restrictions go with them, its motion modules as AnimateDiff, Apache-2.0)",
    "vae": "sd-vae-ft-mse: MIT; the VAE inside Stable Diffusion 1.5: CreativeML OpenRAIL-M",
    "wav2vec": "wav2vec2-base-960h: Apache-2.0",
}
FACES = (
    "face embedding: not converted. insightface's weights are for non-commercial research only: emo-infer --arcface "
    "takes them. Without it the embedding is zeros, which is the way for commercial use"
)
SHARD_BYTES = 500_000_000
WEIGHTS_NAME = "diffusion_pytorch_model"


@dataclass
class SourceParts:
    """Paths of the three parts.

    Attributes:
        net: File net.pth of Hallo or Hallo2.
        vae: Folder of Stable Diffusion's VAE.
        wav2vec: Folder of wav2vec 2.0.
    """

    net: Path
    vae: Path
    wav2vec: Path

    def licenses(self) -> list[str]:
        """One line for each part, and one for the face embedding, which is not converted."""
        return [f"{getattr(self, name)}: {license}" for name, license in LICENSES.items()] + [FACES]


def find_parts(sources: Iterable[Path]) -> SourceParts:
    """Find the parts among files and folders.

    Args:
        sources: Files, and folders that may hold parts further down, as Hallo's `pretrained_models` does.

    Returns:
        The parts.

    Raises:
        InputError: A part is missing or ambiguous.
    """
    found: dict[str, set[Path]] = {"net": set(), "vae": set(), "wav2vec": set()}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source} does not exist: give a net.pth, and folders of a VAE and of wav2vec 2.0")
        if source.is_file():
            found["net"].add(source)
            continue
        found["net"] |= {path for suffix in ("pth", "safetensors") for path in source.rglob(f"net.{suffix}")}
        for path in source.rglob("config.json"):
            kind = detect_kind(path)
            if kind is not None:
                found[kind].add(path.parent)
    for name, paths in found.items():
        if len(paths) != 1:
            given = ", ".join(sorted(map(str, paths))) or "none"
            raise InputError(f"the sources hold {len(paths)} of {LICENSES[name].split(':')[0]} ({given}): give one")
    return SourceParts(**{name: paths.pop() for name, paths in found.items()})


def detect_kind(path: Path) -> str | None:
    """Which part a config.json belongs to: wav2vec, vae or none. Raises InputError when it is no JSON."""
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): download it again") from error
    if config.get("model_type") == "wav2vec2":
        return "wav2vec"
    return "vae" if config.get("_class_name") == "AutoencoderKL" else None


def convert_hallo(parts: SourceParts, out: Path, training_mode: bool = True, **settings) -> None:
    """Write the pipeline's folder completely, or not at all.

    Args:
        parts: Parts of the pipeline.
        out: The folder; it must not exist.
        training_mode: See emo.hub.convert.hallo.
        settings: Arguments of HalloModel that the shapes of the weights do not determine.

    Raises:
        InputError: A weight is missing or left over, a file is not such a part, or the folder exists.
    """
    if out.exists():
        raise InputError(f"{out} exists: give another, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / "pipeline"
        model = convert_net(parts.net, folder / "model", training_mode, settings)
        vae = cast(AutoencoderKL, load_component(parts.vae))
        vae.save_pretrained(folder / "vae")
        encoder = Wav2VecEncoder.from_wav2vec(str(parts.wav2vec), resample_to_frames=True)
        check_audio_encoder(encoder, model, parts)
        encoder.save_pretrained(folder / "audio_encoder")
        scheduler = DDIMScheduler(**SCHEDULER)
        scheduler.save_pretrained(folder / "scheduler")
        HalloPipeline(model, vae, encoder, scheduler).save_config(folder)
        shutil.move(folder, out)


def convert_net(path: Path, folder: Path, training_mode: bool, settings: dict) -> HalloModel:
    """Write the model's folder.

    Args:
        path: The published net.pth.
        folder: Where the configuration and the weights are written.
        training_mode: Connect the layers as in training mode, see emo.hub.convert.hallo.
        settings: Arguments of HalloModel that the shapes of the weights do not determine.

    Returns:
        The model on the meta device: shapes without values.

    Raises:
        InputError: A weight is missing, left over or of another shape, or the file can't be read.
    """
    theirs = open_weights(path)
    with torch.device("meta"):
        model = HalloModel(
            **infer_config({name: weight.shape for name, weight in theirs.items()}, training_mode) | settings
        )
    ours = RenamedWeights(theirs, {our: their for their, our in rename_keys(list(theirs), training_mode).items()})
    own = model.state_dict()
    raise_for_names(
        (ours.names[name] for name in ours.keys() - own.keys()), f"{path} has", "it is not a net.pth of Hallo"
    )
    raise_for_names(own.keys() - ours.keys(), f"{path} lacks what would become", "download it again")
    other = [ours.names[name] for name, weight in ours.items() if weight.shape != own[name].shape]
    raise_for_names(other, f"{path} has of another shape", "it is not a net.pth of Hallo")
    model.save_config(folder)
    save_sharded(ours, folder)
    return model


@dataclass
class RenamedWeights(Mapping):
    """Published weights under the names and in the shapes of a HalloModel.

    Attributes:
        weights: By their published names.
        names: Name in a HalloModel -> published name.
    """

    weights: Mapping[str, Tensor]
    names: dict[str, str]

    def __getitem__(self, name: str) -> Tensor:
        return reshape_weight(name, self.weights[self.names[name]])

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def check_audio_encoder(encoder: Wav2VecEncoder, model: HalloModel, parts: SourceParts) -> None:
    """Check that the audio encoder's features have the sizes that the model takes.

    Args:
        encoder: The converted audio encoder.
        model: The converted model.
        parts: The sources, for the message.

    Raises:
        InputError: The number of layers or their width differs.
    """
    wanted = (model.config.audio_layers, model.config.audio_feature_dim)
    if encoder.feature_shape != wanted:
        raise InputError(f"{parts.wav2vec} has {encoder.feature_shape} layers and width, {parts.net} expects {wanted}")


def open_weights(path: Path) -> Mapping[str, Tensor]:
    """Open a file of weights; tensors are read from the disk as they are used.

    Args:
        path: A .safetensors file, or one of torch.save.

    Returns:
        Name -> tensor.

    Raises:
        InputError: The file is broken, or contains more than tensors; it is refused without running its code.
    """
    try:
        weights = LazySafetensors(path) if path.suffix == ".safetensors" else load_tensors(path)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is refused: it holds more than tensors, which could run code; use a copy without them"
        ) from error
    except Exception as error:  # the readers raise many kinds on a broken file
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise InputError(f"{path} is not a file of weights ({reason}): download it again") from error
    other = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if other or not weights:
        raise InputError(f"{path} holds {f'no tensor in {other[0]!r}' if other else 'nothing'}: give its net.pth")
    return weights


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of torch.save, mapped into memory. Raises TypeError when its content is not a dict."""
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(weights, dict):
        raise TypeError(f"a {type(weights).__name__}, not a dict")
    return weights


class LazySafetensors(Mapping):
    """Tensors of a .safetensors file by name, each read when it is used."""

    def __init__(self, path: Path):
        self.file = safe_open(path, "pt")
        self.names = list(self.file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self.file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def split_by_size(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Distribute tensors over files.

    Args:
        sizes: Name -> bytes.
        limit: Bytes of a file; a larger tensor has a file of its own.

    Returns:
        The names of each file.
    """
    files, used = [[]], 0
    for name, size in sizes.items():
        if files[-1] and used + size > limit:
            files, used = [*files, []], 0
        files[-1].append(name)
        used += size
    return files


def save_sharded(weights: Mapping[str, Tensor], folder: Path, limit: int = SHARD_BYTES) -> None:
    """Write weights in diffusers' layout: one file, or numbered files and an index.

    Args:
        weights: Name -> tensor.
        folder: Where the files are written.
        limit: Bytes of a file.
    """
    files = split_by_size({name: weight.nbytes for name, weight in weights.items()}, limit)
    where = {}
    for i, names in enumerate(files):
        part = f"-{i + 1:05}-of-{len(files):05}" if len(files) > 1 else ""
        file = f"{WEIGHTS_NAME}{part}.safetensors"
        where |= dict.fromkeys(names, file)
        save_file({name: weights[name].contiguous() for name in names}, folder / file, {"format": "pt"})
    if len(files) > 1:
        index = {"metadata": {"total_size": sum(weight.nbytes for weight in weights.values())}, "weight_map": where}
        (folder / f"{WEIGHTS_NAME}.safetensors.index.json").write_text(json.dumps(index, indent=1))
