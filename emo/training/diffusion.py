"""The training of EMOModel in all its stages, from the weights that a run starts with; and its distillation.

The YAML says what is trained, on how many frames and from which weights. What a student learns from its teacher is in
`emo.training.distillation`.
"""

import copy
from pathlib import Path
from typing import cast

import torch
from accelerate import PartialState
from diffusers import DDIMScheduler
from torch import Tensor, nn

from emo.core.config import Config, DataConfig, check_names
from emo.core.errors import InputError
from emo.core.timing import FPS, SAMPLE_RATE
from emo.data.batch import Batch
from emo.data.sampling import SampleSpec
from emo.hub.resolve import find_component
from emo.models.audio import AudioEncoder
from emo.models.conditions import CONDITIONS, Conditions, drop_conditions
from emo.models.emo import EMOModel
from emo.models.loading import BUILT_IN_MODELS, load_component, load_weights, read_weights
from emo.models.lora import add_lora, remove_lora, save_lora
from emo.models.motion_autoencoder import MotionAutoencoder
from emo.models.motion_components import MotionComponents
from emo.pipelines.emo import EMOPipeline
from emo.training.distillation import check_equal_settings, compute_distillation_loss, load_teacher
from emo.training.distributed import SampleGenerators
from emo.training.losses import (
    collect_conditions,
    compute_diffusion_loss,
    group_by_timestep,
    measure_channel_weights,
)
from emo.training.previews import PreviewScene, load_scenes, render_preview
from emo.training.samples import open_samples
from emo.training.task import Task

CHANNEL_WEIGHT_SAMPLES = 16  # from which the channel weights of the loss are measured
# Setting of `initialize` -> the networks of EMOModel that get a copy of its weights
NETWORKS = {"unet": ("unet", "reference_net"), "motion_adapter": ("unet",)}


class DiffusionTask(Task):
    """Trains EMOModel on clips that the frozen autoencoder and audio encoder have encoded."""

    model_class = EMOModel
    model: EMOModel
    splittable_batch = True

    def __init__(self, config: Config):
        """Load the frozen components, the model's first weights and the data.

        Args:
            config: The run's settings.

        Raises:
            InputError: A setting, a component or the data can't be used.
        """
        check_names("conditions", config.conditions, CONDITIONS)
        self.config = config
        self.scenes = load_scenes(config.samples)
        device = PartialState().device
        self.vae = load_frozen_component("autoencoder", config.autoencoder, "vae").to(device)
        self.audio_encoder = load_frozen_component("audio_encoder", config.audio_encoder, "audio_encoder").to(device)
        self.scheduler = DDIMScheduler(**vars(config.scheduler))
        self.model = make_model(config, getattr(self.vae, "components", None))
        check_component_sizes(self.model, self.vae, self.audio_encoder)
        initialize_weights(self.model, config)
        if config.lora.rank:
            check_lora(config)
            lora = config.lora
            add_lora(self.model.requires_grad_(False), lora.rank, lora.alpha, lora.target_modules)
        spec = make_sample_spec(config.data, self.model)
        self.samples = open_samples(config, spec, self.vae, self.audio_encoder)
        self.channel_weights = self.part_projection = None
        if config.loss.part_weight:
            if self.model.components is None:
                raise InputError("loss.part_weight: only latents of motion components have it, give 0")
            self.part_projection = cast(MotionAutoencoder, self.vae).project_parts()
        if config.loss.perceptual_channel_weight:
            if self.model.config.reference_channels is not None:
                raise InputError("loss.perceptual_channel_weight: motion latents have no such weights, give 0")
            latents = self.make_batch(range(CHANNEL_WEIGHT_SAMPLES), device).latents[:, 0]
            self.channel_weights = measure_channel_weights(self.vae, latents).to(device)

    def make_batch(self, numbers: range, device: torch.device) -> Batch:
        """Return the run's samples of these numbers.

        Args:
            numbers: Sample numbers of the run.
            device: Where the tensors go.

        Returns:
            The samples of these numbers, the same at every call.
        """
        return self.samples.make_batch(numbers, device)

    def make_validation_batches(self, count: int, device: torch.device) -> list[Batch]:
        """Return samples of people in `data.hold_out`.

        Args:
            count: Number of batches.
            device: Where the tensors go.

        Returns:
            Batches of one sample each; [] if nobody is held out.
        """
        return self.samples.make_validation_batches(count, device)

    def compute_loss(
        self, model: nn.Module, batch: Batch, generators: SampleGenerators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the diffusion loss; conditions are dropped only in training.

        Args:
            model: The denoising model, perhaps wrapped by accelerate.
            batch: What `make_batch` returns.
            generators: Draw noise, timesteps and dropped conditions for each sample.

        Returns:
            The mean loss (), and the losses by quarters of the timesteps.
        """
        conditions = collect_conditions(batch, self.model.config.get("controls") or ())
        if model.training:
            settings = self.config.conditions.items()
            rates = {name: setting.drop_rate for name, setting in settings if setting.drop_rate is not None}
            conditions = drop_conditions(conditions, rates, generators.rand, self.config.controls_drop_rate)
        losses, timesteps = self.compute_sample_losses(model, batch, conditions, generators)
        return losses.mean(), group_by_timestep(losses, timesteps, self.scheduler.config.num_train_timesteps)

    def compute_sample_losses(
        self, model: nn.Module, batch: Batch, conditions: Conditions, generators: SampleGenerators
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of each sample.

        Args:
            model: The denoising model.
            batch: What `make_batch` returns.
            conditions: The batch's conditions, after dropping.
            generators: Draw noise and timesteps for each sample.

        Returns:
            Losses (B,) and timesteps (B,).
        """
        return compute_diffusion_loss(
            model,
            self.scheduler,
            batch,
            conditions,
            self.config.loss,
            generators,
            self.channel_weights,
            self.part_projection,
        )

    def make_pipeline(self, model: EMOModel) -> EMOPipeline:
        """Return the pipeline around a model, with the run's sampling settings.

        Args:
            model: The denoising model.

        Returns:
            The pipeline; its components are those of the run, not copies.
        """
        components, sampling = (model, self.vae, self.audio_encoder, self.scheduler), self.config.sampling
        return EMOPipeline(*components, **vars(sampling) | {"size": sampling.size or self.config.data.size})

    def save_samples(self, model: nn.Module, path: Path) -> None:
        """Write videos of the run's preview scenes, and of some clips, generated from their first frame.

        Args:
            model: The denoising model, in evaluation mode.
            path: Start of the files' names.
        """
        pipeline = self.make_pipeline(model)
        for scene in self.scenes:
            render_preview(pipeline, scene, Path(f"{path}_{scene.name}.mp4"))
        for name, truth, voice in self.samples.read_examples():
            scene = PreviewScene(name, truth[0], "full", voice[: int(len(truth) / FPS * SAMPLE_RATE)])
            render_preview(pipeline, scene, Path(f"{path}_{name}.mp4"), truth)

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """Write the whole pipeline, for emo-infer and for the next stage's `start_from` (its model/).

        Adapters are written to lora/; the model beside them is the one that they were trained on.

        Args:
            model: The trained denoising model.
            folder: Where the pipeline is written.
        """
        pipeline = copy.deepcopy(self.make_pipeline(model))
        if self.config.lora.rank:
            save_lora(pipeline.model, folder / "lora", self.config.start_from)
            remove_lora(pipeline.model)
        pipeline.to(getattr(torch, self.config.saved_dtype)).save_pretrained(folder)


class DistillationTask(DiffusionTask):
    """Trains a student on the run's clips; noise is added to the clips' latents, in training and validation."""

    def __init__(self, config: Config):
        """Load what a diffusion run needs, and the teacher.

        Args:
            config: The run's settings.

        Raises:
            InputError: The settings don't fit a student, or differ from its teacher's.
        """
        super().__init__(config)
        self.teacher = load_teacher(config)
        self.teacher.model.to(PartialState().device)
        check_equal_settings("model", dict(self.model.config), dict(self.teacher.model.config))
        check_equal_settings("scheduler", dict(self.scheduler.config), dict(self.teacher.scheduler.config))
        steps, teacher_steps = config.sampling.num_inference_steps, self.teacher.num_steps
        total = config.scheduler.num_train_timesteps
        if total % teacher_steps or teacher_steps % steps:
            wrong = f"sampling.num_inference_steps={steps} and its teacher's {teacher_steps}"
            raise InputError(f"{wrong}: give a divisor of the teacher's steps, and those must divide {total}")
        if config.sampling.guidance_scale != 1:
            scale = config.sampling.guidance_scale
            raise InputError(f"sampling.guidance_scale={scale}: a student uses no guidance, give 1")
        if config.loss.min_snr_gamma is not None:
            raise InputError(
                "loss.min_snr_gamma: it weights the last timestep, which a student must learn, by 0; give null"
            )

    def compute_sample_losses(
        self, model: nn.Module, batch: Batch, conditions: Conditions, generators: SampleGenerators
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of each sample against the teacher.

        Args:
            model: The student.
            batch: What `make_batch` returns.
            conditions: The batch's conditions, after dropping.
            generators: Draw noise and timesteps for each sample.

        Returns:
            Losses (B,) and timesteps (B,).
        """
        num_steps, loss = self.config.sampling.num_inference_steps, self.config.loss
        return compute_distillation_loss(
            model, self.teacher, num_steps, batch, conditions, loss, generators, self.channel_weights
        )


def make_model(config: Config, components: MotionComponents | None = None) -> EMOModel:
    """Make the model from `config.model`.

    Args:
        config: The run's settings.
        components: Those of the autoencoder's latents, which the model is limited to.

    Returns:
        The model, with random weights.

    Raises:
        InputError: EMOModel refuses the arguments, it needs neighboring frames that the samples don't have, or it does
            not predict the clean latents, of which alone it is known that they have no part outside of the components.
    """
    sizes = {} if components is None else {"latent_components": tuple(components.basis.shape)}
    if components is not None and config.scheduler.prediction_type != "sample":
        kind = config.scheduler.prediction_type
        raise InputError(f"scheduler.prediction_type={kind}: motion latents with components need sample")
    try:
        model = EMOModel(**config.model | sizes)
    except (TypeError, ValueError) as error:
        raise InputError(f"model: {error}") from error
    if not config.data.contiguous and (model.config.temporal or model.config.audio_margin):
        raise InputError("data.contiguous=false: needs model.temporal=false and model.audio_margin=0; else set it true")
    if components is not None:
        model.components = copy.deepcopy(components)
    return model


def make_sample_spec(data: DataConfig, model: EMOModel) -> SampleSpec:
    """Return the frames that a sample of a model consists of.

    Args:
        data: The run's data settings.
        model: The model, which says how many frames it needs before and around a window.

    Returns:
        The specification for `draw_sample`.
    """
    settings = model.config
    return SampleSpec(
        data.num_frames,
        data.contiguous,
        motion_frames=settings.num_motion_frames if settings.temporal else 0,
        audio_margin=settings.audio_margin,
        speed_margin=settings.speed_margin if settings.temporal else 0,
        closed_mouth_reference_rate=data.closed_mouth_reference_rate,
    )


def load_frozen_component(setting: str, given: str | None, subfolder: str) -> nn.Module:
    """Load the component that a setting names, or that of a pipeline, without gradients.

    Args:
        setting: Name of the setting, for messages.
        given: Folder, built-in model or Hub name.
        subfolder: Where a pipeline has the component.

    Returns:
        The component.

    Raises:
        InputError: There is no such component.
    """
    return load_component(find_component(setting, given, subfolder)).requires_grad_(False)


def check_component_sizes(model: EMOModel, vae: nn.Module, audio_encoder: AudioEncoder) -> None:
    """Check that the model fits the autoencoder's latents and the audio features.

    Args:
        model: The denoising model.
        vae: The autoencoder.
        audio_encoder: The audio encoder.

    Raises:
        InputError: A size differs; the message names the setting.
    """
    channels = getattr(vae, "reference_channels", None)
    if model.config.reference_channels != channels:
        raise InputError(f"model.reference_channels={model.config.reference_channels}: autoencoder gives {channels}")
    given = vae.config.latent_channels, *audio_encoder.feature_shape
    for name, size in zip(("latent_channels", "audio_layers", "audio_feature_dim"), given, strict=True):
        if model.config[name] != size:
            fix = f"autoencoder and audio_encoder give {size}, set it so or change them"
            raise InputError(f"model.{name}={model.config[name]}: {fix}")


def check_lora(config: Config) -> None:
    """Check the settings of a run that trains adapters.

    Args:
        config: The run's settings.

    Raises:
        InputError: A setting does not go with adapters.
    """
    if config.lora.rank < 0 or config.lora.alpha <= 0:
        raise InputError(f"lora.rank={config.lora.rank} lora.alpha={config.lora.alpha}: give both above 0")
    if config.start_from is None:
        raise InputError(f"lora.rank={config.lora.rank}: adapters need a trained model, give start_from")
    if config.trainable != ["*"]:
        raise InputError("trainable: with lora.rank only the adapters are trained, leave it out")


def initialize_weights(model: EMOModel, config: Config) -> None:
    """Load what `start_from` and `initialize` name into the model; without either it is unchanged.

    Args:
        model: Its weights are replaced in place.
        config: The run's settings.

    Raises:
        InputError: Weights are missing, or do not match the model exactly, apart from `new_weights` and
            `unused_weights`.
    """
    sources = {}
    if config.start_from:
        folder = Path(config.start_from)
        if config.start_from in BUILT_IN_MODELS or not folder.is_dir():
            folder = find_component("start_from", config.start_from, "model")
        sources[f"start_from={config.start_from}"] = read_weights(folder)
    for setting, networks in NETWORKS.items():
        if name := getattr(config.initialize, setting):
            sources[f"initialize.{setting}={name}"] = load_pretrained_weights(setting, name, networks)
    if sources:
        load_weights(model, sources, config.new_weights, config.unused_weights)


def load_pretrained_weights(setting: str, name: str, networks: tuple[str, ...]) -> dict[str, Tensor]:
    """Read published weights.

    Args:
        setting: The name in `initialize`, also the subfolder in a pipeline.
        name: A folder or Hub id.
        networks: The networks of EMOModel that get a copy; inside them the names are diffusers' own.

    Returns:
        Name in EMOModel -> weight.
    """
    weights = load_component(find_component(f"initialize.{setting}", name, setting)).state_dict()
    return {f"{network}.{key}": weight for network in networks for key, weight in weights.items()}
