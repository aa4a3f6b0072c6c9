"""The list of everything that a video is conditioned on.

`CONDITIONS` has one `ConditionSpec` per condition: shape, null value, default drop rate and guidance scale, encoder,
and where it enters the network. Null values, and the choice between a given value and its null, live only here.

To add a control that varies by frame, add a `ConditionSpec` to `CONDITIONS` and a field to `Conditions`; for training
also a field to `Batch` and to the labels in `emo.data.batch`. A model has it when its YAML names it in
`model.controls`; callers give it by the same name.

Shapes: B clips, F frames of a window, M motion frames before it, m frames of margin on each side, C H W latents, A
audio tokens, S reference tokens of a layer, I identity tokens, E width of a frame token.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, nan, radians
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from emo.core.errors import InputError
from emo.models.audio import AudioProjection, NoAudioProjection
from emo.models.conditioners import ControlEncoder, FaceLocator, HeadSpeedEncoder, IdentityProjection, PixelFaceLocator
from emo.models.layers import AudioRegions

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "afraid", "disgusted")
MAX_ANGLE = radians(90)  # of gaze and head pose, in radians
Value = float | str | Sequence | Mapping[str, float] | np.ndarray


@dataclass
class Conditions:
    """What a window is generated from, before it is encoded. None leaves a condition out: the same as its null
    value."""

    reference: Tensor | None = None  # (B C H W) latents of the portrait
    audio: Tensor | None = None  # (B F+2m W D) audio features, W layers of width D
    motion: Tensor | None = None  # (B M C H W) latents of the frames before; a missing frame is zeros
    face_region: Tensor | None = None  # (B 1 H W) 1 where the face may be; more pixels for a PixelFaceLocator
    head_speed: Tensor | None = None  # (B F+2m) rad/s; NaN: unknown
    identity: Tensor | None = None  # (B G) face embedding
    gaze: Tensor | None = None  # (B F 2) yaw to the picture's left and pitch up, minus the portrait's; NaN: unknown
    head_pose: Tensor | None = None  # (B F 3) of `emo.face.pose.head_angles`, minus the portrait's; NaN: unknown
    distance: Tensor | None = None  # (B F 1) of the head from the camera over that of the portrait; NaN: unknown
    emotion: Tensor | None = None  # (B 7) or (B F 7) intensity of each of EMOTIONS, 0 to 1; NaN: unknown
    motion_identity: Tensor | None = None  # (B M G) face embeddings for the motion frames; None: `identity`
    audio_regions: AudioRegions | None = None  # where face and lips are; None: every region is the whole frame

    @property
    def device(self) -> torch.device | None:
        """The device of the first given tensor; None where none is given."""
        given = (getattr(self, name) for name in CONDITIONS)
        return next((value.device for value in given if value is not None), None)


@dataclass
class EncodedConditions:
    """All that the conditions contribute, independent of the noise: computed once per window, used in every step."""

    reference_latents: Tensor  # (B C H W) of the portrait
    reference_tokens: list[Tensor | None] | None  # for each layer (B S C), or (B R S C): R sets; frame f uses set f % R
    audio_tokens: Tensor | None  # (B F A D); None: no audio attention
    face_region_features: Tensor  # (B C H W) added after the first convolution
    motion_maps: list[Tensor | None] | None = None  # for each layer (B M C H W), or zeros (B M 1 1 1); None: no time
    frame_tokens: Tensor | None = None  # (B F E) of head speed and controls; None: the model has no speed layers
    identity_tokens: Tensor | None = None  # (B I D)
    audio_regions: AudioRegions | None = None  # None: no regional audio attention
    motion_frames: Tensor | None = None  # (B M C H W) latents of the frames before; None: none


@dataclass(frozen=True)
class ConditionSpec:
    """One condition of a model."""

    name: str  # of its field in Conditions
    per: Literal["clip", "frame"]
    shape: Callable[[Any, torch.Size], tuple[int, ...]]  # (model config, latents' shape B F C H W) -> shape of a value
    null: float  # value of every element when the condition is left out
    encoder: Callable[[Any], nn.Module | None]  # model config -> module; None: the ReferenceNet encodes it
    enters: str  # field of EncodedConditions that it contributes to
    drop_rate: float = 0.05  # share of training samples without it, for classifier-free guidance
    guidance_scale: float = 1.0  # default; 1: no guidance by this condition
    components: tuple[str, ...] = ()  # of a value that callers may give, see `parse_value`; (): tensors only
    component_default: float = nan  # of components that a mapping leaves out
    limits: tuple[float, float] = (-inf, inf)  # of each component, so that degrees given for radians are refused
    is_control: bool = False  # optional, a model has it when `controls` names it


def _reference(config: Any, shape: torch.Size) -> tuple[int, ...]:
    return shape[0], config.get("reference_channels") or shape[2], *shape[3:]


def _audio(config: Any, shape: torch.Size) -> tuple[int, ...]:
    return shape[0], shape[1] + 2 * config.audio_margin, config.audio_layers, config.audio_feature_dim


def _motion(config: Any, shape: torch.Size) -> tuple[int, ...]:
    return shape[0], config.num_motion_frames, *shape[2:]


def pixels_per_latent(config: Any) -> int:
    """Pixels of the face region along one side of a latent pixel: 1, or more with a PixelFaceLocator."""
    widths = config.get("locator_widths")
    return 1 if widths is None else 2 ** (len(widths) - 1)


def _face_region(config: Any, shape: torch.Size) -> tuple[int, ...]:
    scale = pixels_per_latent(config)
    return shape[0], 1, scale * shape[3], scale * shape[4]


def _head_speed(config: Any, shape: torch.Size) -> tuple[int, ...]:
    return shape[0], shape[1] + 2 * config.speed_margin


def _identity(config: Any, shape: torch.Size) -> tuple[int, ...]:
    return shape[0], config.identity_dim


def _make_audio_projection(config: Any) -> nn.Module:
    if config.audio_token_dim is None:
        return NoAudioProjection()
    features, sizes = (config.audio_layers, config.audio_feature_dim), (config.audio_tokens, config.audio_token_dim)
    return AudioProjection(features, config.audio_margin, *sizes, config.audio_hidden_dim)


def _make_face_locator(config: Any) -> nn.Module:
    widths, dim = config.get("locator_widths"), config.block_out_channels[0]
    return FaceLocator(dim) if widths is None else PixelFaceLocator(dim, widths)


def _make_speed_encoder(config: Any) -> nn.Module | None:
    if not has_frame_tokens(config):
        return None
    return HeadSpeedEncoder(config.speed_centers, config.speed_radii, config.speed_margin, config.frame_token_dim)


def _make_identity_projection(config: Any) -> nn.Module | None:
    if config.get("identity_dim") is None:
        return None
    return IdentityProjection(config.identity_dim, config.identity_tokens, config.identity_token_dim)


def has_frame_tokens(config: Any) -> bool:
    """Return whether a model has the speed layers, which attend to frame tokens."""
    return config.get("temporal", True) and config.get("frame_token_dim") is not None


def _control(
    name: str,
    components: tuple[str, ...],
    limits: tuple[float, float],
    deviation: float,
    neutral: float = 0.0,
    component_default: float = nan,
) -> ConditionSpec:
    """Return a control by frame, whose token is added to that of the head speed; neutral and deviation: of its values,
    see `ControlEncoder`."""
    return ConditionSpec(
        name,
        "frame",
        shape=lambda config, shape: (shape[0], shape[1], len(components)),
        null=nan,
        encoder=lambda config: ControlEncoder(len(components), config.frame_token_dim, neutral, deviation),
        enters="frame_tokens",
        drop_rate=0.1,
        components=components,
        component_default=component_default,
        limits=limits,
        is_control=True,
    )


CONDITIONS: dict[str, ConditionSpec] = {
    spec.name: spec
    for spec in (  # training draws in this order: append, do not insert
        ConditionSpec("reference", "clip", _reference, 0.0, lambda config: None, "reference_tokens"),
        ConditionSpec("audio", "frame", _audio, 0.0, _make_audio_projection, "audio_tokens", guidance_scale=3.5),
        ConditionSpec("motion", "clip", _motion, 0.0, lambda config: None, "motion_maps"),
        ConditionSpec("face_region", "clip", _face_region, 1.0, _make_face_locator, "face_region_features"),
        ConditionSpec(
            "head_speed",
            "frame",
            _head_speed,
            nan,
            _make_speed_encoder,
            "frame_tokens",
            components=("radians_per_second",),
            limits=(0.0, 3.0),
        ),
        ConditionSpec("identity", "clip", _identity, 0.0, _make_identity_projection, "identity_tokens"),
        _control("gaze", ("yaw", "pitch"), (-MAX_ANGLE, MAX_ANGLE), deviation=0.1),
        _control("head_pose", ("yaw", "pitch", "roll"), (-MAX_ANGLE, MAX_ANGLE), deviation=0.1),
        _control("distance", ("ratio",), (0.25, 4.0), deviation=0.1, neutral=1.0),
        _control("emotion", EMOTIONS, (0.0, 1.0), deviation=0.5, component_default=0.0),
    )
}


DEFAULTS: dict[str, Value] = {"distance": 1.0}  # of conditions that a call leaves out: as near as in the portrait


def find_defaults(names: Collection[str]) -> dict[str, Value]:
    """Return the DEFAULTS of the conditions that a model has, by name."""
    return {name: value for name, value in DEFAULTS.items() if name in names}


def find_controls(names: Sequence[str]) -> list[ConditionSpec]:
    """Return the controls of these names, in the list's order.

    Raises:
        ValueError: For a name that is no control.
    """
    known = [spec for spec in CONDITIONS.values() if spec.is_control]
    for name in names:
        if name not in {spec.name for spec in known}:
            raise ValueError(
                f"controls={list(names)}: {name!r} is not a control: choose among {[s.name for s in known]}"
            )
    return [spec for spec in known if spec.name in names]


def value_or_null(
    conditions: Conditions, name: str, config: Any, shape: torch.Size, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return a condition's value, or its null value where it is left out.

    Args:
        conditions: Conditions of a window.
        name: Name of the condition.
        config: Config of the model.
        shape: (B F C H W) of the window's latents.
        device, dtype: Device and data type of a null value.

    Returns:
        A tensor of the shape that the condition's spec says.
    """
    value, spec = getattr(conditions, name), CONDITIONS[name]
    if value is not None:
        return value
    return torch.full(spec.shape(config, shape), spec.null, device=device, dtype=dtype)


def drop_conditions(
    conditions: Conditions, rates: Mapping[str, float], rand: Callable[[], Tensor], controls_rate: float = 0.0
) -> Conditions:
    """Replace each given condition of each sample by its null value at its rate (classifier-free guidance,
    2207.12598).

    Args:
        conditions: Conditions of a batch of B samples.
        rates: Name -> drop rate; a condition without one takes its spec's.
        rand: Draws (B,) uniform in [0, 1), called once for every given condition, in the order of CONDITIONS.
        controls_rate: Share of samples that lose head speed and all controls together.

    Returns:
        The conditions, some of them null.
    """
    dropped = {}
    steered = rand() >= controls_rate if controls_rate else None
    for spec in CONDITIONS.values():
        value = getattr(conditions, spec.name)
        if value is not None:
            keep = rand() >= rates.get(spec.name, spec.drop_rate)
            if steered is not None and spec.enters == "frame_tokens":
                keep = keep & steered
            dropped[spec.name] = torch.where(keep.view(-1, *[1] * (value.ndim - 1)), value, spec.null)
    return replace(conditions, **dropped)


def parse_value(name: str, value: Value) -> np.ndarray:
    """What a caller gives for a condition, as an array.

    Args:
        name: Name of the condition.
        value: A number (of a condition of one component); one of the components' names, for 1.0 of it; a mapping from
            names to numbers; a sequence of one number per component; or an array of one row per frame (T, D).

    Returns:
        (D,) or (T, D) float32.

    Raises:
        InputError: For a value that does not fit the condition, or is beyond its limits.
    """
    spec = CONDITIONS[name]
    if isinstance(value, str):
        value = {value: 1.0}
    if isinstance(value, Mapping):
        if unknown := sorted(value.keys() - set(spec.components)):
            raise InputError(f"{name}: {unknown[0]!r} is unknown, choose among {', '.join(spec.components)}")
        value = [value.get(component, spec.component_default) for component in spec.components]
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}={value!r}: give {len(spec.components)} numbers ({', '.join(spec.components)})"
        ) from error
    if len(spec.components) == 1 and array.ndim < 2:
        array = array[..., None]
    if array.ndim not in (1, 2) or array.shape[-1] != len(spec.components) or array.size == 0:
        expected = f"({len(spec.components)},) or (frames, {len(spec.components)})"
        raise InputError(f"{name} has shape {array.shape}: give {expected} of {', '.join(spec.components)}")
    low, high = spec.limits
    if outside := [number for number in array.ravel().tolist() if number < low - 1e-6 or number > high + 1e-6]:
        raise InputError(f"{name}={outside[0]:g} is not between {low:.4g} and {high:.4g}, see emo.models.conditions")
    return array


def slice_curve(curve: np.ndarray, first: int, last: int) -> np.ndarray:
    """Rows first .. last - 1 of a parsed value.

    Args:
        curve: (D,), constant, or (T, D), one row per frame of the video.
        first, last: Frames of the video; the first and the last row go on beyond the ends.

    Returns:
        (last - first, D).
    """
    if curve.ndim == 1:
        return np.broadcast_to(curve, (last - first, len(curve)))
    return curve[np.arange(first, last).clip(0, len(curve) - 1)]
