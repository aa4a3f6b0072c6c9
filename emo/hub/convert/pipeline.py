"""Published parts -> the folder of an EMOPipeline: net.pth of Hallo or Hallo2, Stable Diffusion's VAE, wav2vec 2.0."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from emo.core.errors import InputError
from emo.hub.convert.checkpoint import open_weights, save_tensors
from emo.hub.convert.hallo import renamed, shaped, sizes
from emo.models.audio import Wav2VecEncoder
from emo.models.emo import EMOModel
from emo.models.loading import load_part, refuse
from emo.pipelines.emo import EMOPipeline

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
SAMPLING = {"size": 512, "num_inference_steps": 40, "guidance_scale": 3.5, "guides_identity": True}
SAMPLING |= {"motion_through_pixels": True, "crop_scale": 1.25}  # faces fill 50 to 70 % of the pictures it learnt from
LICENCES = {
    "net": "Hallo and Hallo2: MIT (its UNets began as Stable Diffusion 1.5, CreativeML OpenRAIL-M, whose use "
    "restrictions go with them, its motion modules as AnimateDiff, Apache-2.0)",
    "vae": "sd-vae-ft-mse: MIT; the VAE inside Stable Diffusion 1.5: CreativeML OpenRAIL-M",
    "wav2vec": "wav2vec2-base-960h: Apache-2.0",
}
FACES = (
    "face embedding: not converted. insightface's weights are for non-commercial research only: emo-infer --arcface "
    "takes them. Without it nobody's embedding (zeros) is given, which is the way for commercial use"
)


@dataclass
class Parts:
    """Where the three parts lie."""

    net: Path  # a file
    vae: Path  # folders
    wav2vec: Path

    def licences(self) -> list[str]:
        """A line for each part, and one for the face embedding, that is none."""
        return [f"{getattr(self, name)}: {licence}" for name, licence in LICENCES.items()] + [FACES]


def find_parts(sources: Iterable[Path]) -> Parts:
    """The parts among files and folders, which may hold them further down, as Hallo's `pretrained_models` does.

    Raises InputError where one is missing, or is there twice.
    """
    found = {"net": set(), "vae": set(), "wav2vec": set()}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source} does not exist: give a net.pth, and folders of a VAE and of wav2vec 2.0")
        if source.is_file():
            found["net"].add(source)
            continue
        found["net"] |= {path for suffix in ("pth", "safetensors") for path in source.rglob(f"net.{suffix}")}
        for path in source.rglob("config.json"):
            kind = kind_of(path)
            found.get(kind, set()).add(path.parent)
    for name, paths in found.items():
        if len(paths) != 1:
            given = ", ".join(sorted(map(str, paths))) or "none"
            raise InputError(f"the sources hold {len(paths)} of {LICENCES[name].split(':')[0]} ({given}): give one")
    return Parts(**{name: paths.pop() for name, paths in found.items()})


def kind_of(path: Path) -> str | None:
    """Which part a config.json is of."""
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): get it again") from error
    if config.get("model_type") == "wav2vec2":
        return "wav2vec"
    return "vae" if config.get("_class_name") == "AutoencoderKL" else None


def convert(parts: Parts, out: Path, trained: bool = True, **settings) -> None:
    """Writes the pipeline's folder, or nothing. trained: see emo.hub.convert.hallo; settings: of EMOModel, where the
    shapes of the weights do not tell.

    Raises InputError where a weight is missing or left over, a file is no such part, or the folder exists.
    """
    if out.exists():
        raise InputError(f"{out} exists: give another, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as half:
        folder = Path(half) / "pipeline"
        model = convert_net(parts.net, folder / "model", trained, settings)
        vae = load_part(parts.vae)
        vae.save_pretrained(folder / "vae")
        encoder = Wav2VecEncoder.from_wav2vec(str(parts.wav2vec), at_frames=True)
        check_ear(encoder, model, parts)
        encoder.save_pretrained(folder / "audio_encoder")
        scheduler = DDIMScheduler(**SCHEDULER)
        scheduler.save_pretrained(folder / "scheduler")
        EMOPipeline(model, vae, encoder, scheduler, **SAMPLING).save_config(folder)
        shutil.move(folder, out)


def convert_net(path: Path, folder: Path, trained: bool, settings: dict) -> EMOModel:
    """Writes the model's folder and returns the model, of which there are shapes alone."""
    theirs = open_weights(path)
    with torch.device("meta"):
        model = EMOModel(**sizes({name: weight.shape for name, weight in theirs.items()}, trained) | settings)
    ours = Renamed(theirs, {our: their for their, our in renamed(list(theirs), trained).items()})
    own = model.state_dict()
    refuse((ours.names[name] for name in ours.keys() - own.keys()), f"{path} has", "it is no net.pth of Hallo")
    refuse(own.keys() - ours.keys(), f"{path} lacks what is to be", "get it again")
    other = [ours.names[name] for name, weight in ours.items() if weight.shape != own[name].shape]
    refuse(other, f"{path} has of another shape", "it is no net.pth of Hallo")
    model.save_config(folder)
    save_tensors(ours, folder)
    return model


@dataclass
class Renamed(Mapping):
    """Weights of others under our names, in our shapes."""

    weights: Mapping[str, Tensor]
    names: dict[str, str]  # ours -> theirs

    def __getitem__(self, name: str) -> Tensor:
        return shaped(name, self.weights[self.names[name]])

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def check_ear(encoder: Wav2VecEncoder, model: EMOModel, parts: Parts) -> None:
    wanted = (model.config.audio_layers, model.config.audio_feature_dim)
    if encoder.feature_shape != wanted:
        raise InputError(f"{parts.wav2vec} has {encoder.feature_shape} layers and width, {parts.net} wants {wanted}")
