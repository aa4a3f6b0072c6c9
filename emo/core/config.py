"""The settings of a training run: dataclasses, a YAML file over their defaults, dotted overrides over both.

`extends: other.yaml` in a file, a path from its own folder, puts it over that one.
"""

import difflib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from emo.core.errors import InputError


@dataclass
class DataConfig:
    clips: dict[str, float] = field(default_factory=dict)  # folder of prepared clips -> share of the samples
    shards: list[str] = field(default_factory=list)  # in place of clips: folders, s3:// or hf://, read as a stream
    lanes: int = 16  # shards that are read in turn; best a multiple of processes x workers: each has its own then
    workers: int = 4  # processes that read shards, for each process that trains
    pictures: list[str] = field(default_factory=list)  # folders of still pictures
    labels: str | None = None  # folder of the face landmarks of emo.preparation.labels
    hold_out: str | None = None  # text file, one person a line: never trained on, the validation loss is theirs
    cache: str | None = None  # folder for encoded clips, or shards from elsewhere; None: beside the run
    sound_variants: int = 1  # the sound of each clip, and changed ones: other voices, rooms and noise
    num_frames: int = 1  # frames of a sample
    contiguous: bool = False  # frames in a row, or any frames of the clip
    closed_reference: float = 0.0  # share of samples whose portrait is a frame with the mouth closed
    size: int = 512  # pixels


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
    """How a diffusion sample is made and weighed."""

    min_snr_gamma: float | None = 5.0  # arXiv 2303.09556
    noise_offset: float = 0.0
    full_noise_rate: float = 0.0  # share of the samples at the last timestep
    mouth_weight: float = 1.0  # of the error around the lips
    perceived_share: float = 0.0  # in which an error counts as the eye sees it, not as latents have it
    drop_audio: float = 0.05
    drop_reference: float = 0.05
    drop_motion: float = 0.05
    drop_face_region: float = 0.05
    drop_head_speed: float = 0.05


@dataclass
class SamplingConfig:
    """What the saved pipeline does unless a call asks otherwise."""

    num_inference_steps: int = 40
    guidance_scale: float = 3.5
    guidance_threshold: float = 0.0
    overlap_frames: int = 0
    palette_reach: float = 0.0


@dataclass
class InitialiseConfig:
    """Weights that a run begins with, besides those of `start_from`: folders in diffusers' layout, or Hub ids."""

    unet: str | None = None  # Stable Diffusion 1.5's, or the pipeline around it: for the backbone and the ReferenceNet
    motion_adapter: str | None = None  # AnimateDiff's, for the temporal layers
    over: str | None = None  # a folder of some weights by EMOModel's names, which take the place of start_from's


@dataclass
class LoraConfig:
    """Adapters beside the frozen weights (arXiv 2106.09685), which alone learn; they are saved in the model's lora/."""

    rank: int = 0  # 0: there are none
    alpha: float = 16.0  # what they give counts alpha / rank
    targets: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out.0"])  # ends of layers' names


@dataclass
class DistillationConfig:
    """Whom the student of a distillation follows; how it is sampled itself stands in `sampling`."""

    teacher: str | None = None  # folder of a trained pipeline, frozen; its own settings say how it is guided
    teacher_steps: int | None = None  # from noise to picture, a multiple of the student's; None: the pipeline's own


@dataclass
class SamplesConfig:
    """Videos that a run makes every `sample_steps`, beside those of its own clips: each portrait with each voice."""

    portraits: list[str] = field(default_factory=list)  # pictures with a face
    voices: list[str] = field(default_factory=list)  # sound files
    seconds: float = 4.0  # of each voice, from its begin


@dataclass
class TrackingConfig:
    """Weights & Biases, beside the screen and log.jsonl; all else is its own to ask: WANDB_MODE, WANDB_ENTITY, ..."""

    project: str | None = None  # None: it is not used
    artifact_steps: int = 0  # of the checkpoints that are sent whole, a multiple of checkpoint_steps; 0: the last alone


@dataclass
class Config:
    task: str = "diffusion"  # autoencoder, mouth, face, part, diffusion or distillation
    output: str = "runs/default"
    seed: int = 0
    device: str | None = None  # None: a GPU where there is one
    precision: str = "fp32"  # of products; or bf16, where the device has it. Weights are float32 in both
    steps: int = 1000
    batch_size: int = 4  # of a step, over all processes and their micro-batches
    gradient_accumulation_steps: int = 1  # micro-batches that a process makes of its share, one after the other
    gradient_checkpointing: bool = False  # layers are computed again for the gradient: much less memory, slower
    compile: bool = False  # by torch.compile: minutes at the start, then faster
    optimizer: str = "adamw"  # or adamw8bit, of bitsandbytes: its state takes a quarter of the memory; not sharded
    learning_rate: float = 1e-5
    warmup_steps: int = 100
    final_learning_rate: float = 1.0  # share of learning_rate left at the end of a cosine
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    max_skipped_steps: int = 10  # in a row, because loss or gradient is no number; then the run stops
    ema_decay: float = 0.999
    ema_device: str | None = None  # cpu: the average is kept there; None: beside the weights, sharded as they are
    log_steps: int = 50
    checkpoint_steps: int = 500
    keep_checkpoints: int = 2  # the last ones, beside the one of the least (validation) loss; 0: all
    sample_steps: int = 1000
    validation_steps: int = 1000  # between looks at the loss on people held out
    validation_samples: int = 64  # of them, the same in every run
    trainable: list[str] = field(default_factory=lambda: ["*"])  # patterns over parameter names
    start_from: str | None = None  # a folder of save_pretrained, or a pipeline's Hub id: weights by name
    initialise: InitialiseConfig = field(default_factory=InitialiseConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)  # of the UNet, in place of `trainable`
    new: list[str] = field(default_factory=list)  # patterns of names that none of these weights has
    unused: list[str] = field(default_factory=list)  # patterns of the model's names, of those they have, to leave out
    autoencoder: str | None = None  # frozen: a folder of ours or diffusers', of a pipeline with vae/, or a Hub id
    audio_encoder: str | None = None  # frozen: a folder of ours or transformers' wav2vec 2.0, or a Hub id
    saved_dtype: str = "float32"  # of the pipeline's weights on disk
    model: dict[str, Any] = field(default_factory=dict)  # arguments of the model's class
    data: DataConfig = field(default_factory=DataConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """A YAML file and dotted overrides (`data.size=256`) -> Config.

    Raises InputError for a missing file, an unknown key (with the nearest known one) or a wrong type.
    """
    try:
        layers = [OmegaConf.structured(Config), *read_layers(Path(path)), OmegaConf.from_dotlist(overrides or [])]
        return OmegaConf.to_object(OmegaConf.merge(*layers))
    except InputError:
        raise
    except ConfigKeyError as error:
        near = difflib.get_close_matches(str(error.key), known_keys(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{path}: unknown setting {error.full_key!r}.{hint}") from error
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # YAML's own errors have no common base with OmegaConf's
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}") from error


def read_layers(path: Path) -> list[DictConfig]:
    """The file, behind all that it extends. Raises InputError for a missing file or a circle."""
    layers, seen = [], []
    while path is not None:
        if not path.is_file():
            wanted = f", which {seen[-1]} extends," if seen else ""
            raise InputError(f"{path}{wanted} is no file: name a YAML file such as configs/mini/stage1.yaml")
        if path.resolve() in seen:
            raise InputError(f"{path} extends itself: take one `extends` out")
        seen.append(path.resolve())
        settings = OmegaConf.load(path)
        base = settings.pop("extends", None) if settings else None
        layers.insert(0, settings)
        path = path.parent / base if base else None
    return layers


def known_keys() -> list[str]:
    """Every name of a setting, without its parents'."""
    sections = asdict(Config())
    return [*sections, *(key for value in sections.values() if isinstance(value, dict) for key in value)]


def save_config(config: Config, path: Path) -> None:
    """The whole config as YAML: loading it gives the same run. A file of that name is replaced at once."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    part.replace(path)
