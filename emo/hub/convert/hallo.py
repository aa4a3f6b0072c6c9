"""Map the weights of Hallo (arXiv 2406.08801) and Hallo2 (2410.07718) to the names and sizes of a HalloModel.

Their `net.pth` holds reference_unet, denoising_unet, face_locator, imageproj and audioproj. Each of its names has a
place in a HalloModel, or matches UNUSED.

Their code behaves differently in training mode, in which the authors train and also run it, and in evaluation mode
(`training_mode` False): there motion frames and the scales of regions reach only the middle of the UNet, and temporal
layers are in the coarsest blocks too.
"""

import re
from collections.abc import Mapping

from torch import Size, Tensor

from emo.core.errors import InputError

MARGIN, LAYERS = 2, 12  # frames on each side whose audio features a frame gets; layers of wav2vec 2.0 base
RENAMES = [
    (r"^denoising_unet\.", "unet."),
    (r"^reference_unet\.", "reference_net."),
    (r"^imageproj\.", "identity_projection."),
    (r"^audioproj\.norm\.", "audio_projection.norm."),
    (r"^audioproj\.proj([123])\.", lambda m: f"audio_projection.mlp.{2 * int(m[1]) - 2}."),
    (r"^face_locator\.conv_in\.", "face_locator.convs.0."),
    (r"^face_locator\.blocks\.(\d+)\.", lambda m: f"face_locator.convs.{int(m[1]) + 1}."),
    (r"^face_locator\.conv_out\.", "face_locator.out."),
    (r"(\.motion_modules\.\d+)\.temporal_transformer\.", r"\1."),
    (r"\.attention_blocks\.0\.pos_encoder\.", ".pos_embed."),
    (r"\.attention_blocks\.([01])\.", lambda m: f".attn{int(m[1]) + 1}."),
    (r"\.norms\.([01])\.", lambda m: f".norm{int(m[1]) + 1}."),
    (r"\.ff_norm\.", ".norm3."),
    (r"\.attn2_([012])\.", r".attn2.\1."),
    (r"\.zero_conv_(full|face|lip)\.", lambda m: f".mix.{['full', 'face', 'lip'].index(m[1])}."),
]
UNUSED = [
    r"\.attention_blocks\.1\.pos_encoder\.pe$",  # the same table as that of block 0
    # behind the last tokens of the ReferenceNet, which nothing uses
    r"^reference_unet\.up_blocks\.{up}\.attentions\.{last}\.(proj_out|transformer_blocks\.0\.(attn[12]|norm[23]|ff))\.",
]
COARSEST = r"^denoising_unet\.(down_blocks\.{up}|up_blocks\.0)\.motion_modules\."  # unused in training mode


def rename_key(name: str) -> str:
    """Return the name in a HalloModel of a weight of net.pth."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def rename_keys(names: list[str], training_mode: bool = True) -> dict[str, str]:
    """List the names in a HalloModel of the weights of net.pth.

    Args:
        names: Names of the weights in net.pth.
        training_mode: Connect the layers as in training mode, see the module.

    Returns:
        Name in net.pth -> name in a HalloModel; unused weights are left out.
    """
    up = count_modules(names, r"^reference_unet\.up_blocks\.(\d+)\.")
    last = count_modules(names, rf"^reference_unet\.up_blocks\.{up - 1}\.attentions\.(\d+)\.")
    patterns = [*UNUSED, COARSEST] if training_mode else UNUSED
    unused = [pattern.replace("{up}", str(up - 1)).replace("{last}", str(last - 1)) for pattern in patterns]
    return {name: rename_key(name) for name in names if not any(re.search(pattern, name) for pattern in unused)}


def reshape_weight(name: str, weight: Tensor) -> Tensor:
    """Reshape a weight for a HalloModel: convolutions over single tokens are linear layers there.

    Args:
        name: Name of the weight in a HalloModel.
        weight: The published tensor.

    Returns:
        The tensor in the shape of a HalloModel.
    """
    return weight.flatten(1) if re.search(r"\.mix\.\d\.weight$", name) else weight


def count_modules(names: list[str], pattern: str) -> int:
    """Count the modules of a numbered list.

    Args:
        names: Names of weights.
        pattern: Regular expression whose group is a module's number.

    Returns:
        One more than the largest number; 0 where no name matches.
    """
    return 1 + max((int(found[1]) for name in names if (found := re.search(pattern, name))), default=-1)


def infer_config(shapes: Mapping[str, Size], training_mode: bool = True) -> dict:
    """Infer the arguments of a HalloModel. No shape depends on the numbers of heads and groups: they stay 8 and 32.

    Args:
        shapes: Shapes of the weights in net.pth by name.
        training_mode: Connect the layers as in training mode, see the module.

    Returns:
        Arguments of HalloModel.

    Raises:
        InputError: The names are not Hallo's.
    """
    try:
        return _read_config(shapes, training_mode)
    except (KeyError, ZeroDivisionError) as error:
        raise InputError(f"not a net.pth of Hallo or Hallo2: it lacks {error}") from error


def _read_config(shapes: Mapping[str, Size], training_mode: bool) -> dict:
    names = list(shapes)
    net, levels = "denoising_unet.down_blocks", count_modules(names, r"^denoising_unet\.down_blocks\.(\d+)\.")
    table = "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    locator = [
        "conv_in",
        *(f"blocks.{i}" for i in range(1, count_modules(names, r"^face_locator\.blocks\.(\d+)\."), 2)),
    ]
    hidden, features = shapes["audioproj.proj1.weight"]
    audio_dim, identity_dim = shapes["audioproj.norm.weight"][0], shapes["imageproj.norm.weight"][0]
    return {
        "latent_channels": shapes["denoising_unet.conv_in.weight"][1],
        "block_out_channels": [shapes[f"{net}.{i}.resnets.0.conv1.weight"][0] for i in range(levels)],
        "layers_per_block": count_modules(names, r"^denoising_unet\.down_blocks\.0\.resnets\.(\d+)\."),
        "audio_layers": LAYERS,
        "audio_feature_dim": features // ((2 * MARGIN + 1) * LAYERS),
        "audio_tokens": shapes["audioproj.proj3.weight"][0] // audio_dim,
        "audio_token_dim": audio_dim,
        "audio_hidden_dim": hidden,
        "audio_margin": MARGIN,
        "num_frames": 16,
        "num_motion_frames": 2,
        "max_frames": shapes[f"{net}.0.{table}"][1],
        "identity_dim": shapes["imageproj.proj.weight"][1],
        "identity_tokens": shapes["imageproj.proj.weight"][0] // identity_dim,
        "identity_token_dim": identity_dim,
        "audio_regions": 3,
        "locator_widths": [shapes[f"face_locator.{name}.weight"][0] for name in locator],
        "motion_tokens": True,
        "motion_levels": None if training_mode else [levels - 1],
        "frame_norm": True,
        "sparse_temporal": training_mode,
    }
