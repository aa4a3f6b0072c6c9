"""The weights that a diffusion run begins with: an earlier stage's, and published ones.

The weights that a diffusion run begins with: an earlier stage's, and published ones.

All stages of EMO: what is trained, on how many frames and from which weights is the YAML's to say.
"""

import copy
from pathlib import Path

import torch
from accelerate import PartialState
from diffusers import DDIMScheduler
from torch import Tensor, nn

from emo.core.config import Config, DataConfig
from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.dataset import Batch
from emo.data.sampling import Window
from emo.hub.resolve import find_part
from emo.models.audio import AudioEncoder
from emo.models.emo import Conditions, EMOModel
from emo.models.loading import load_part, load_weights, read_weights, refuse
from emo.models.lora import add_lora, remove_lora, save_lora
from emo.pipelines.emo import EMOPipeline
from emo.training.distributed import Generators
from emo.training.losses import by_timestep, diffusion_loss, drop, perceived_weights
from emo.training.previews import Scene, film, read_scenes
from emo.training.samples import open_samples
from emo.training.task import Task


def start(model: EMOModel, config: Config) -> None:
    """Puts in what `start_from` and `initialise` name; without either the model stays as it was made.

    Raises InputError when weights can't be had or, with what `new` and `unused` say, don't fit to the last name.
    """
    given = {}
    if config.start_from:
        folder = Path(config.start_from)
        folder = folder if folder.is_dir() else find_part("start_from", config.start_from, "model")
        weights = read_weights(folder)
        if over := config.initialise.over:
            weights = replaced(weights, read_weights(Path(over)), over)
        given[f"start_from={config.start_from}"] = weights
    for part, nets in {"unet": ("unet", "reference_net"), "motion_adapter": ("unet",)}.items():
        if name := getattr(config.initialise, part):
            given[f"initialise.{part}={name}"] = published(part, name, nets)
    if given:
        load_weights(model, given, config.new, config.unused)


def published(part: str, name: str, nets: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights of a folder or Hub id, each once for every net, by EMOModel's names: they are diffusers' own."""
    weights = load_part(find_part(f"initialise.{part}", name, part)).state_dict()
    return {f"{net}.{key}": weight for net in nets for key, weight in weights.items()}


def replaced(weights: dict[str, Tensor], others: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights, the `others` of a source in place of those of their names. Raises InputError for a name too many."""
    refuse(others.keys() - weights.keys(), f"start_from has not what initialise.over={source} has,", "leave it out")
    return weights | others


WEIGHED_SAMPLES = 16


class DiffusionTask(Task):
    """Learns from what the frozen autoencoder and audio encoder make of clips."""

    splittable = True

    def __init__(self, config: Config):
        self.config = config
        self.scenes = read_scenes(config.samples)
        device = PartialState().device
        self.vae = load_frozen("autoencoder", config.autoencoder, "vae").to(device)
        self.audio_encoder = load_frozen("audio_encoder", config.audio_encoder, "audio_encoder").to(device)
        self.scheduler = DDIMScheduler(**vars(config.scheduler))
        self.model = make_model(config)
        check_fit(self.model, self.vae, self.audio_encoder)
        start(self.model, config)
        if config.lora.rank:
            check_lora(config)
            add_lora(self.model.requires_grad_(False), **vars(config.lora))
        window = window_of(config.data, self.model)
        self.samples = open_samples(config, window, self.vae, self.audio_encoder)
        self.perceived = self.weigh_channels(device) if config.loss.perceived_share else None

    def weigh_channels(self, device: torch.device) -> Tensor:
        """(C,) by a frame of each of the run's first samples."""
        latents = self.batch(range(WEIGHED_SAMPLES), device).latents[:, 0]
        return perceived_weights(self.vae, latents).to(device)

    def batch(self, numbers: range, device: torch.device) -> Batch:
        return self.samples.batch(numbers, device)

    def held_out(self, count: int, device: torch.device) -> list[Batch]:
        return self.samples.held_out(count, device)

    def loss(self, model: nn.Module, batch: Batch, generators: Generators) -> tuple[Tensor, dict]:
        given = Conditions(batch.reference, batch.audio, batch.motion, batch.face_region, batch.head_speed)
        given = drop(given, self.config.loss, generators) if model.training else given
        losses, steps = self.losses(model, batch, given, generators)
        return losses.mean(), by_timestep(losses, steps, self.scheduler.config.num_train_timesteps)

    def losses(
        self, model: nn.Module, batch: Batch, given: Conditions, generators: Generators
    ) -> tuple[Tensor, Tensor]:
        """Of each sample (B,), and its timestep (B,)."""
        return diffusion_loss(model, self.scheduler, batch, given, self.config.loss, generators, self.perceived)

    def pipeline(self, model: EMOModel) -> EMOPipeline:
        parts = model, self.vae, self.audio_encoder, self.scheduler
        return EMOPipeline(*parts, size=self.config.data.size, **vars(self.config.sampling))

    def sample(self, model: nn.Module, path: Path) -> None:
        """Videos of the run's scenes, and of some clips: the first frame made to talk, beside the truth."""
        pipeline = self.pipeline(model)
        for scene in self.scenes:
            film(pipeline, scene, Path(f"{path}_{scene.name}.mp4"))
        for name, truth, voice in self.samples.examples():
            scene = Scene(name, truth[0], "full", voice[: int(len(truth) / FPS * SAMPLE_RATE)])
            film(pipeline, scene, Path(f"{path}_{name}.mp4"), truth)

    def save(self, model: nn.Module, folder: Path) -> None:
        """The whole pipeline: what emo-infer --model takes, and the next stage's start_from (its model/). Adapters lie
        in lora/, beside the model as it was."""
        pipeline = copy.deepcopy(self.pipeline(model))
        if self.config.lora.rank:
            save_lora(pipeline.model, folder / "lora", self.config.start_from)
            remove_lora(pipeline.model)
        pipeline.to(getattr(torch, self.config.saved_dtype)).save_pretrained(folder)


def window_of(data: DataConfig, model: EMOModel) -> Window:
    """The samples that a model learns from."""
    settings = model.config
    return Window(
        data.num_frames,
        data.contiguous,
        motion_frames=settings.num_motion_frames if settings.temporal else 0,
        audio_margin=settings.audio_margin,
        speed_margin=settings.speed_margin if settings.temporal else 0,
        closed_reference=data.closed_reference,
    )


def make_model(config: Config) -> EMOModel:
    """Raises InputError for arguments that EMOModel refuses, and for frames without the neighbours it must see."""
    try:
        model = EMOModel(**config.model)
    except (TypeError, ValueError) as error:
        raise InputError(f"model: {error}") from error
    if not config.data.contiguous and (model.config.temporal or model.config.audio_margin):
        raise InputError("data.contiguous=false: needs model.temporal=false and model.audio_margin=0; else set it true")
    return model


def check_lora(config: Config) -> None:
    """Raises InputError for settings that adapters can't have."""
    if config.lora.rank < 0 or config.lora.alpha <= 0:
        raise InputError(f"lora.rank={config.lora.rank} lora.alpha={config.lora.alpha}: give both above 0")
    if config.start_from is None:
        raise InputError(f"lora.rank={config.lora.rank}: needs a trained model to sit beside, give start_from")
    if config.trainable != ["*"]:
        raise InputError("trainable: with lora.rank the adapters alone learn, leave it out")


def check_fit(model: EMOModel, vae: nn.Module, audio_encoder: AudioEncoder) -> None:
    """Raises InputError when the model is made for latents or features of other sizes than the frozen parts give."""
    settings, given = model.config, (vae.config.latent_channels, *audio_encoder.feature_shape)
    wanted = settings.latent_channels, settings.audio_layers, settings.audio_feature_dim
    for name, want, has in zip(("latent_channels", "audio_layers", "audio_feature_dim"), wanted, given, strict=True):
        if want != has:
            raise InputError(f"model.{name}={want}: autoencoder and audio_encoder give {has}, set it so or change them")


def load_frozen(setting: str, given: str | None, subfolder: str) -> nn.Module:
    """A frozen part, or that of a pipeline. Raises InputError when the settings name none."""
    return load_part(find_part(setting, given, subfolder)).requires_grad_(False)
