"""The weights that a diffusion run starts with: those of an earlier stage, and published ones."""

from pathlib import Path

from torch import Tensor

from emo.core.config import Config
from emo.hub.resolve import find_component
from emo.models.emo import EMOModel
from emo.models.loading import BUILT_IN_MODELS, load_component, load_weights, raise_for_names, read_weights

# Setting of `initialize` -> the networks of EMOModel that get a copy of its weights
NETWORKS = {"unet": ("unet", "reference_net"), "motion_adapter": ("unet",)}


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
        weights = read_weights(folder)
        if replacement := config.initialize.replacement_weights:
            weights = replace_weights(weights, read_weights(Path(replacement)), replacement)
        sources[f"start_from={config.start_from}"] = weights
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


def replace_weights(weights: dict[str, Tensor], others: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Replace weights by those of the same names from another source.

    Args:
        weights: Weights by name.
        others: The weights that replace them.
        source: Name of their source, for the message.

    Returns:
        All weights by name.

    Raises:
        InputError: The source has a name that `weights` lacks.
    """
    unknown = others.keys() - weights.keys()
    raise_for_names(unknown, f"start_from lacks what initialize.replacement_weights={source} has,", "leave it out")
    return weights | others
