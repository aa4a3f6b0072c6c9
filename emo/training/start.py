"""The weights that a diffusion run begins with: an earlier stage's, and published ones."""

from pathlib import Path

from torch import Tensor

from emo.config import Config
from emo.hub import find_part
from emo.models.emo import EMOModel
from emo.models.pretrained import load_part, load_weights, read_weights, refuse


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
