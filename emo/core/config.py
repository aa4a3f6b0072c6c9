"""Settings of a training run: typed dataclasses, read from YAML files and command-line overrides.

The defaults stand in the dataclasses below, a YAML file goes over them, and dotted overrides (`data.size=256`) go over
both. `extends: other.yaml` in a file, a path relative to that file, reads the other file first.

Unknown keys, wrong types and keys of earlier versions are refused with one line that names the file and the fix.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from emo.core.errors import InputError
from emo.core.files import write_text_atomic


@dataclass
class DataConfig:
    """The training data, and how samples are cut from it."""

    clips: dict[str, float] = field(default_factory=dict)  # folder of prepared clips -> its share of the samples
    shards: list[str] = field(default_factory=list)  # instead of clips: folders, s3:// or hf:// URLs, streamed
    open_shards: int = 16  # shards read at the same time, one clip of each in turn; best a multiple of all workers
    workers: int = 4  # processes that read shards, for each training process
    video_reader: str = "pyav"  # or decord, of the extra `train`: reads the frames of shards
    images: list[str] = field(default_factory=list)  # folders of still images
    labels: str | None = None  # folder of face landmarks, made by emo.preparation.labels
    hold_out: str | None = None  # text file, one person a line: excluded from training, used for the validation loss
    cache: str | None = None  # folder for encoded clips and downloaded shards; None: beside the output folder
    audio_variants: int = 1  # versions of each clip's audio: the original, and augmented ones (voice, room, noise)
    num_frames: int = 1  # frames of a sample
    contiguous: bool = False  # True: consecutive frames; False: any frames of the clip
    closed_mouth_reference_rate: float = 0.0  # share of samples whose reference frame has a closed mouth
    portraits_per_clip: int = 2  # of motion latents, which are encoded for each; synthetic clips have their own one
    size: int = 512  # pixels, width and height of the frames


@dataclass
class SchedulerConfig:
    """Arguments of diffusers' DDIMScheduler."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "v_prediction"
    rescale_betas_zero_snr: bool = True
    timestep_spacing: str = "trailing"
    clip_sample: bool = False


@dataclass
class LossConfig:
    """Noise and weights of the diffusion loss."""

    min_snr_gamma: float | None = 5.0  # min-SNR weighting (arXiv 2303.09556); None: all timesteps weigh the same
    noise_offset: float = 0.0  # deviation of a constant that is added to the noise of each channel
    pure_noise_rate: float = 0.0  # share of samples whose timestep is the last one, pure noise
    motion_frame_noise: float = 0.0  # largest deviation of noise on motion frames, against errors that add up
    mouth_weight: float = 1.0  # weight of errors around the lips
    part_weight: float = 0.0  # of the error of the lips' and lids' own motion, with motion components
    perceptual_channel_weight: float = 0.0  # 0: equal weights of latent channels, 1: by color error


@dataclass
class ConditionConfig:
    """How one condition of the model is trained."""

    drop_rate: float | None = None  # share of samples without it (classifier-free guidance); None: the model's default


@dataclass
class SamplingConfig:
    """Defaults of the saved pipeline; arguments of EMOPipeline."""

    num_inference_steps: int = 40
    guidance_scale: float = 3.5
    guidance_threshold: float = 0.0
    overlap_frames: int = 0
    color_limit_radius: float = 0.0
    size: int | None = None  # None: that of the data


@dataclass
class InitializeConfig:
    """Weights that a run starts with besides `start_from`: folders in diffusers' layout, or Hub ids."""

    unet: str | None = None  # Stable Diffusion 1.5, or its unet/: for the denoising UNet and the ReferenceNet
    motion_adapter: str | None = None  # AnimateDiff, for the temporal layers


@dataclass
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685) that are trained beside the frozen weights and saved in lora/."""

    rank: int = 0  # 0: no adapters
    alpha: float = 16.0  # their output is scaled by alpha / rank
    target_modules: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out.0"])  # name suffixes


@dataclass
class DistillationConfig:
    """The teacher of a distillation; how the student samples is set in `sampling`."""

    teacher: str | None = None  # folder of a trained pipeline; its own settings define the guidance
    teacher_inference_steps: int | None = None  # a multiple of the student's; None: the teacher pipeline's own


@dataclass
class SamplesConfig:
    """Preview videos made every `sample_steps`, besides those of the run's own clips: each image with each audio."""

    images: list[str] = field(default_factory=list)  # portraits
    audio: list[str] = field(default_factory=list)  # audio files
    duration_seconds: float = 4.0  # used of each audio file, from its start


@dataclass
class TrackingConfig:
    """Weights & Biases, besides the terminal and log.jsonl; its own environment variables (WANDB_MODE, ...) apply."""

    project: str | None = None  # None: not used
    artifact_steps: int = 0  # steps between uploaded checkpoints, a multiple of checkpoint_steps; 0: the last


@dataclass
class Config:
    """All settings of a run."""

    # autoencoder, motion_autoencoder, audio_encoder, face_detector, landmark_refiner, diffusion or distillation
    task: str = "diffusion"
    output: str = "runs/default"
    seed: int = 0
    device: str | None = None  # None: a GPU if there is one
    precision: str = "fp32"  # or bf16: mixed precision, if the device supports it; weights are float32 in both
    steps: int = 1000
    batch_size: int = 4  # samples of a step, over all processes and micro-batches
    gradient_accumulation_steps: int = 1  # micro-batches of each process in a step
    gradient_checkpointing: bool = False  # recompute activations in the backward pass: much less memory, slower
    compile: bool = False  # torch.compile: minutes at the start, then faster
    optimizer: str = "adamw"  # or adamw8bit, of bitsandbytes: a quarter of the optimizer memory; not with FSDP
    learning_rate: float = 1e-5
    warmup_steps: int = 100
    final_learning_rate_ratio: float = 1.0  # learning rate at the end of the cosine schedule, over learning_rate
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    max_skipped_steps: int = 10  # consecutive steps with a non-finite loss or gradient, after which the run stops
    ema_decay: float = 0.999
    ema_device: str | None = None  # cpu: where the averaged weights are stored; None: with the weights
    log_steps: int = 50
    checkpoint_steps: int = 500
    keep_checkpoints: int = 2  # the last ones, besides the one with the lowest (validation) loss; 0: all
    sample_steps: int = 1000
    validation_steps: int = 1000
    validation_samples: int = 64  # the same in every run
    trainable: list[str] = field(default_factory=lambda: ["*"])  # patterns of parameter names
    start_from: str | None = None  # mini, a folder of save_pretrained, or a pipeline's Hub id: weights by name
    initialize: InitializeConfig = field(default_factory=InitializeConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)  # of the UNet, instead of `trainable`
    new_weights: list[str] = field(default_factory=list)  # patterns of the model's names that no source contains
    unused_weights: list[str] = field(default_factory=list)  # patterns of the sources' names that are left out
    autoencoder: str | None = None  # frozen: mini, a folder of ours or diffusers', a pipeline with vae/, or a Hub id
    audio_encoder: str | None = None  # frozen: mini, a folder of ours or transformers' wav2vec 2.0, or a Hub id
    saved_dtype: str = "float32"  # of the saved pipeline's weights
    model: dict[str, Any] = field(default_factory=dict)  # arguments of the task's model class: see check_arguments
    conditions: dict[str, ConditionConfig] = field(default_factory=dict)  # by the names in emo.models.conditions
    controls_drop_rate: float = 0.0  # share of samples without head speed and all controls, as a model is mostly used
    data: DataConfig = field(default_factory=DataConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


# Keys of earlier versions -> their names today
RENAMED_KEYS = {
    "initialise": "initialize",
    "new": "new_weights",
    "unused": "unused_weights",
    "final_learning_rate": "final_learning_rate_ratio",
    "clip_norm": "max_gradient_norm",
    "lora.targets": "lora.target_modules",
    "data.lanes": "data.open_shards",
    "data.pictures": "data.images",
    "data.sound_variants": "data.audio_variants",
    "data.closed_reference": "data.closed_mouth_reference_rate",
    "model.speed_token_dim": "model.frame_token_dim",
    "loss.full_noise_rate": "loss.pure_noise_rate",
    "loss.perceived_share": "loss.perceptual_channel_weight",
    "loss.drop_audio": "conditions.audio.drop_rate",
    "loss.drop_reference": "conditions.reference.drop_rate",
    "loss.drop_motion": "conditions.motion.drop_rate",
    "loss.drop_face_region": "conditions.face_region.drop_rate",
    "loss.drop_head_speed": "conditions.head_speed.drop_rate",
    "distillation.teacher_steps": "distillation.teacher_inference_steps",
    "sampling.palette_reach": "sampling.color_limit_radius",
    "samples.portraits": "samples.images",
    "samples.voices": "samples.audio",
    "samples.seconds": "samples.duration_seconds",
}
RENAMED_TASKS = {"mouth": "audio_encoder", "face": "face_detector", "part": "landmark_refiner"}


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a run's settings.

    Args:
        path: A YAML file, put over the defaults and over the file that it `extends`.
        overrides: Settings over the file's, such as `data.size=256`.

    Returns:
        The settings of all layers, merged and checked.

    Raises:
        InputError: The file is missing or not YAML, or a key is unknown (the message names the nearest one), renamed
            (the message names the new one) or of a wrong type.
    """
    try:
        layers = [*read_config_files(Path(path)), OmegaConf.from_dotlist(overrides or [])]
        for layer in layers:
            refuse_renamed(layer, path)
        return cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), *layers)))
    except InputError:
        raise
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {describe_error(error, list_setting_names())}") from error
    except Exception as error:  # YAML's own errors have no common base with OmegaConf's
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error


def read_config_files(path: Path) -> list[DictConfig]:
    """Read a file and all that it extends, the base first. Raises InputError for a missing file or a cycle."""
    layers, visited, current = [], [], path
    while current is not None:
        if not current.is_file():
            extended = f", which {visited[-1]} extends," if visited else ""
            raise InputError(f"{current}{extended} is not a file: name a YAML file such as configs/mini/fine_tune.yaml")
        if current.resolve() in visited:
            raise InputError(f"{current} extends itself: remove one `extends`")
        visited.append(current.resolve())
        settings = OmegaConf.load(current)
        base = settings.pop("extends", None) if isinstance(settings, DictConfig) else None
        layers.insert(0, settings)
        current = current.parent / base if base else None
    return layers


def refuse_renamed(layer: DictConfig, path: str | Path) -> None:
    """Check that no key or task has the name of an earlier version.

    Args:
        layer: Settings of one file or command line.
        path: File that the settings belong to, for the message.

    Raises:
        InputError: A key or task was renamed; the message gives the new name.
    """
    settings = OmegaConf.to_container(layer)
    if not isinstance(settings, dict):
        return
    for name in flatten_settings(settings):
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            key = ".".join(parts[:length])
            if key in RENAMED_KEYS:
                raise InputError(f"{path}: setting {key!r} was renamed: write {RENAMED_KEYS[key]!r}")
    task = settings.get("task")
    if task in RENAMED_TASKS:
        raise InputError(f"{path}: task {task!r} was renamed: write {RENAMED_TASKS[task]!r}")


def flatten_settings(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted name -> value; an empty dict is a value.

    Args:
        settings: Nested settings.
        prefix: Beginning of each dotted name.

    Returns:
        Dotted name -> value.
    """
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= flatten_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def describe_error(error: OmegaConfBaseException, known: list[str]) -> str:
    """Describe an error of OmegaConf in one line.

    Args:
        error: The error.
        known: Names of all settings, to suggest the nearest one for an unknown key.

    Returns:
        One line for the user.
    """
    if isinstance(error, ConfigKeyError):
        return describe_unknown(error.full_key, known)
    reason = str(error).splitlines()[0]
    return f"{error.full_key}: {reason}" if error.full_key else reason


def describe_unknown(name: str, known: list[str]) -> str:
    """Describe an unknown setting in one line.

    Args:
        name: Dotted name of the unknown setting.
        known: Names of all settings, to suggest the nearest one.

    Returns:
        One line for the user.
    """
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    return f"unknown setting {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")


def list_setting_names() -> list[str]:
    """List the names of all settings, those in sections without the section's name."""
    sections = asdict(Config())
    names = [key for value in sections.values() if isinstance(value, dict) for key in value]
    return [*sections, *names, *asdict(ConditionConfig())]


def check_names(section: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that all names in a section are known.

    Args:
        section: Dotted name of the section, for the message.
        given: Names that the user gave.
        known: Names that exist.

    Raises:
        InputError: A name is unknown.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise InputError(describe_unknown(f"{section}.{name}", known))


def check_arguments(section: str, given: dict[str, Any], target: Callable) -> None:
    """Check the names and types of settings that are passed on as the arguments of a class or function.

    Args:
        section: What the settings are called in the message, such as `model`.
        given: Name -> value.
        target: The class or function; its signature lists what it accepts.

    Raises:
        InputError: A name is unknown (the message names the nearest one), or a value of a wrong type.
    """
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    names = [name for name in inspect.signature(target).parameters if name in hints]
    schema = make_dataclass(section, [(name, make_schema_type(hints[name]), field(default=None)) for name in names])
    try:
        OmegaConf.merge({section: OmegaConf.structured(schema)}, {section: given})
    except OmegaConfBaseException as error:
        raise InputError(f"{section}: {describe_error(error, names)}") from error


def make_schema_type(hint: Any) -> Any:
    """Return a parameter's type, optional, as OmegaConf can check it: tuples are lists in YAML."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is tuple:
        hint = list[get_args(hint)[0]]
    return hint | None


def save_config(config: Config, path: Path) -> None:
    """Write all settings as YAML with one rename; `load_config` reads them back.

    Args:
        config: The settings.
        path: The YAML file.

    Raises:
        OutputError: The file can't be written.
    """
    write_text_atomic(path, OmegaConf.to_yaml(OmegaConf.structured(config)))
