"""What Hallo (arXiv 2406.08801) and Hallo2 (2410.07718) published, in the names and sizes of an EMOModel.

Their `net.pth` holds reference_unet, denoising_unet, face_locator, imageproj and audioproj. What their model has and
EMO's lacks are options of EMOModel; every name of theirs has a place in ours, or stands in UNUSED.

Their code does one thing in training mode, in which they train and also run it, and another in evaluation mode
(`trained` False): there motion frames and the scales of regions reach the middle of the UNet alone, and temporal layers
stand in the coarsest stages too.
"""

import re
from collections.abc import Mapping

from torch import Size, Tensor

from emo.core.errors import InputError

MARGIN, LAYERS = 2, 12  # frames on each side that a frame hears, and layers of wav2vec 2.0 base
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
    # behind the last tokens of the reference net, which nothing sees
    r"^reference_unet\.up_blocks\.{up}\.attentions\.{last}\.(proj_out|transformer_blocks\.0\.(attn[12]|norm[23]|ff))\.",
]
COARSEST = r"^denoising_unet\.(down_blocks\.{up}|up_blocks\.0)\.motion_modules\."  # no use when `trained`


def our_name(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(names: list[str], trained: bool = True) -> dict[str, str]:
    """Names of net.pth that have a use -> what EMOModel calls them."""
    up = number(names, r"^reference_unet\.up_blocks\.(\d+)\.")
    last = number(names, rf"^reference_unet\.up_blocks\.{up - 1}\.attentions\.(\d+)\.")
    patterns = [*UNUSED, COARSEST] if trained else UNUSED
    unused = [pattern.replace("{up}", str(up - 1)).replace("{last}", str(last - 1)) for pattern in patterns]
    return {name: our_name(name) for name in names if not any(re.search(pattern, name) for pattern in unused)}


def shaped(name: str, weight: Tensor) -> Tensor:
    """The weight as the module of ours with this name has it: convolutions of single tokens are linear."""
    return weight.flatten(1) if re.search(r"\.mix\.\d\.weight$", name) else weight


def number(names: list[str], pattern: str) -> int:
    """How many modules there are: one more than the largest number that the pattern finds in the names."""
    return 1 + max((int(found[1]) for name in names if (found := re.search(pattern, name))), default=-1)


def sizes(shapes: Mapping[str, Size], trained: bool = True) -> dict:
    """Shapes of net.pth -> the settings of its EMOModel. How many heads and groups they have no shape says: 8 and 32.

    Raises InputError where the names are not Hallo's.
    """
    try:
        return read_sizes(shapes, trained)
    except (KeyError, ZeroDivisionError) as error:
        raise InputError(f"no net.pth of Hallo or Hallo2: it lacks {error}") from error


def read_sizes(shapes: Mapping[str, Size], trained: bool) -> dict:
    names = list(shapes)
    net, levels = "denoising_unet.down_blocks", number(names, r"^denoising_unet\.down_blocks\.(\d+)\.")
    table = "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    locator = ["conv_in", *(f"blocks.{i}" for i in range(1, number(names, r"^face_locator\.blocks\.(\d+)\."), 2))]
    hidden, heard = shapes["audioproj.proj1.weight"]
    audio_dim, identity_dim = shapes["audioproj.norm.weight"][0], shapes["imageproj.norm.weight"][0]
    return {
        "latent_channels": shapes["denoising_unet.conv_in.weight"][1],
        "block_out_channels": [shapes[f"{net}.{i}.resnets.0.conv1.weight"][0] for i in range(levels)],
        "layers_per_block": number(names, r"^denoising_unet\.down_blocks\.0\.resnets\.(\d+)\."),
        "audio_layers": LAYERS,
        "audio_feature_dim": heard // ((2 * MARGIN + 1) * LAYERS),
        "audio_tokens": shapes["audioproj.proj3.weight"][0] // audio_dim,
        "audio_token_dim": audio_dim,
        "audio_hidden_dim": hidden,
        "audio_margin": MARGIN,
        "num_frames": 16,
        "num_motion_frames": 2,
        "max_frames": shapes[f"{net}.0.{table}"][1],
        "speed_token_dim": None,
        "identity_dim": shapes["imageproj.proj.weight"][1],
        "identity_tokens": shapes["imageproj.proj.weight"][0] // identity_dim,
        "identity_token_dim": identity_dim,
        "audio_regions": 3,
        "locator_widths": [shapes[f"face_locator.{name}.weight"][0] for name in locator],
        "motion_tokens": True,
        "motion_levels": None if trained else [levels - 1],
        "frame_norm": True,
        "sparse_time": trained,
    }
