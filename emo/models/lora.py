"""Low-rank adapters (LoRA, arXiv 2106.09685) beside the UNet's attention layers, by peft.

A layer W x becomes W x + alpha / rank B A x, with B = 0 at first. On disk adapters have peft's layout:
adapter_config.json and adapter_model.safetensors. Several adapters may be loaded under names of their own.
`LoraPipelineMixin` gives a pipeline diffusers' methods for them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file, save_file
from torch import Size, Tensor, nn

from emo.core.errors import InputError
from emo.models.emo import EMOModel

LORA_PATTERN = "*.lora_*"  # of the adapters' parameter names
PREFIX = "base_model.model."  # of parameter names in peft's files
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DEFAULT_NAME = "default"


def add_lora(model: nn.Module, rank: int, alpha: float, targets: list[str]) -> None:
    """Add new adapters, which change nothing yet, to layers of `model.unet`.

    Args:
        model: An EMOModel; it is changed.
        rank: Rank of the adapters' matrices.
        alpha: An adapter's output is scaled by alpha / rank.
        targets: Ends of the names of the layers, such as to_q.

    Raises:
        InputError: For a target that is the end of no layer's name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name, _ in model.unet.named_modules()):
            raise InputError(
                f"lora.target_modules: no layer's name ends with {target!r}; give to_q, to_k, to_v, to_out.0, ..."
            )
    layers = rf"unet\..*\.({'|'.join(map(re.escape, targets))})"
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers), model, DEFAULT_NAME)


def save_lora(model: nn.Module, folder: Path, base: str | None = None) -> None:
    """Save the adapter named `default` in peft's layout.

    Args:
        model: A model with adapters.
        folder: Where the two files are written.
        base: Name of the model that the adapters belong to, for readers.
    """
    config = cast(dict[str, Any], model.peft_config)[DEFAULT_NAME]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    weights = {f"{PREFIX}{name}": weight.contiguous() for name, weight in adapter_weights(model).items()}
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def adapter_weights(model: nn.Module, name: str = DEFAULT_NAME) -> dict[str, Tensor]:
    """Return the weights of one adapter, by the names that peft saves them under.

    Args:
        model: A model with adapters.
        name: Name of the adapter.

    Returns:
        Weights by name.
    """
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)


def load_lora(model: nn.Module, folder: Path, name: str = DEFAULT_NAME) -> None:
    """Add saved adapters to a model, strictly; they alone are active then.

    Args:
        model: An EMOModel; it is changed.
        folder: Folder with adapter_config.json and adapter_model.safetensors.
        name: Name of the adapter.

    Raises:
        InputError: When the files are not adapters, belong to a model of other layers or sizes, or the name is taken.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    if name in list_adapters(model):
        raise InputError(f"adapter_name={name!r} is loaded already: give another, or unload it first")
    try:
        config = LoraConfig.from_pretrained(str(folder))
        weights = {key.removeprefix(PREFIX): weight for key, weight in load_file(folder / ADAPTER_WEIGHTS).items()}
    except Exception as error:  # peft and safetensors raise many kinds on a broken file
        raise InputError(
            f"{folder} is not a LoRA ({str(error).splitlines()[0]}): give a folder that emo-train or peft has saved"
        ) from error
    wrong = f"{folder} was trained for another model ({config.base_model_name_or_path}): load that model"
    try:
        inject_adapter_in_model(config, model, name)
    except ValueError as error:
        raise InputError(wrong) from error
    if _shapes(adapter_weights(model, name)) != _shapes(weights):
        raise InputError(wrong)
    set_peft_model_state_dict(model, weights, adapter_name=name)
    set_adapters(model, [name])


def list_adapters(model: nn.Module) -> list[str]:
    """Names of the loaded adapters."""
    return list(getattr(model, "peft_config", {}))


def set_adapters(model: nn.Module, names: Sequence[str], weights: Sequence[float] | None = None) -> None:
    """Choose the adapters that are active.

    Args:
        model: A model with adapters.
        names: Names of loaded adapters; the others are inactive.
        weights: Factor of each; None: 1.

    Raises:
        InputError: For a name that is not loaded, or as many weights as there are names are not given.
    """
    loaded, weights = list_adapters(model), [1.0] * len(names) if weights is None else list(weights)
    if unknown := [name for name in names if name not in loaded]:
        raise InputError(f"adapter_names: {unknown[0]!r} is not loaded, there are {', '.join(loaded) or 'none'}")
    if len(weights) != len(names):
        raise InputError(f"adapter_weights: {len(weights)} for {len(names)} adapters, give one for each")
    for layer in adapted_layers(model).values():
        layer.set_adapter(list(names))
        for name, weight in zip(names, weights, strict=True):
            layer.set_scale(name, weight)
    model.requires_grad_(False)


def fuse_lora(model: nn.Module) -> None:
    """Add the active adapters to the weights of their layers: as fast as without, equal up to rounding."""
    for layer in adapted_layers(model).values():
        layer.merge()


def unfuse_lora(model: nn.Module) -> None:
    """Take fused adapters off the weights again, up to rounding."""
    for layer in adapted_layers(model).values():
        layer.unmerge()


def remove_lora(model: nn.Module) -> None:
    """Remove all adapters; weights that they are fused into stay fused."""
    for name, layer in adapted_layers(model).items():
        model.set_submodule(name, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def merge_lora(model: nn.Module) -> None:
    """Fuse the active adapters and remove all of them."""
    fuse_lora(model)
    remove_lora(model)


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """Name -> layer with adapters, a BaseTunerLayer of peft."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}


def _shapes(weights: dict[str, Tensor]) -> dict[str, Size]:
    return {name: weight.shape for name, weight in weights.items()}


class LoraPipelineMixin:
    """Loads, chooses and fuses low-rank adapters of a pipeline's `model`."""

    model: EMOModel

    def load_lora_weights(self, path: str | Path, adapter_name: str = DEFAULT_NAME) -> None:
        """Load adapters that emo-train or peft has saved. They alone are active then; see `set_adapters`.

        Args:
            path: Folder with adapter_config.json and adapter_model.safetensors.
            adapter_name: For `set_adapters`.

        Raises:
            InputError: When there are no adapters, they belong to another model, or the name is taken.
        """
        load_lora(self.model, Path(path), adapter_name)

    def set_adapters(
        self, adapter_names: str | Sequence[str], adapter_weights: float | Sequence[float] | None = None
    ) -> None:
        """Choose the active adapters.

        Args:
            adapter_names: One name or several.
            adapter_weights: A factor for each, or one for all; None: 1.

        Raises:
            InputError: For a name that is not loaded, or a wrong number of weights.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        if isinstance(adapter_weights, int | float):
            adapter_weights = [float(adapter_weights)] * len(names)
        set_adapters(self.model, names, adapter_weights)

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Names of the loaded adapters by component."""
        return {"model": list_adapters(self.model)}

    def fuse_lora(self) -> None:
        """Add the active adapters to the weights, so that they take no time. `unfuse_lora` takes them off again."""
        fuse_lora(self.model)

    def unfuse_lora(self) -> None:
        """Take fused adapters off the weights, up to rounding."""
        unfuse_lora(self.model)

    def unload_lora_weights(self) -> None:
        """Remove all adapters; fused ones stay in the weights, unless `unfuse_lora` was called before."""
        remove_lora(self.model)
