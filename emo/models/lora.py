"""LoRA (arXiv 2106.09685) by peft: low-rank adapters beside the UNet's attention, to fine-tune to one person.

W x becomes W x + alpha / rank B A x, and B = 0 at first. On disk adapters are in peft's layout: adapter_config.json and
adapter_model.safetensors.
"""

import re
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Size, Tensor, nn

from emo.core.errors import InputError

LORA_NAMES = "*.lora_*"  # pattern of the adapters' parameters
PREFIX = "base_model.model."  # of names in peft's files
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def add_lora(model: nn.Module, rank: int, alpha: float, targets: list[str]) -> None:
    """Puts fresh adapters, which change nothing, beside the layers of `model.unet` whose names end in a target.

    Raises InputError for a target that is the end of no layer's name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name, _ in model.unet.named_modules()):
            raise InputError(f"lora.targets: {target!r} ends no layer's name; give to_q, to_k, to_v, to_out.0, ...")
    layers = rf"unet\..*\.({'|'.join(map(re.escape, targets))})"
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers), model)


def save_lora(model: nn.Module, folder: Path, base: str | None = None) -> None:
    """Writes the adapters as they are; base: what they were trained beside, for people."""
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    weights = {f"{PREFIX}{name}": weight.contiguous() for name, weight in adapters(model).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def adapters(model: nn.Module) -> dict[str, Tensor]:
    """Name, as peft saves it, -> weight."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)


def load_lora(model: nn.Module, folder: Path) -> None:
    """Puts saved adapters beside the model's layers, strictly.

    Raises InputError when the files are none, or were trained beside a model of other layers or sizes.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    try:
        config = LoraConfig.from_pretrained(str(folder))
        weights = {name.removeprefix(PREFIX): weight for name, weight in load_file(folder / WEIGHTS).items()}
    except Exception as error:  # peft and safetensors raise what they like on a broken file
        raise InputError(f"{folder} holds no LoRA ({str(error).splitlines()[0]}): get it again") from error
    wrong = f"{folder} was trained beside another model ({config.base_model_name_or_path}): give that one as --model"
    try:
        inject_adapter_in_model(config, model)
    except ValueError as error:
        raise InputError(wrong) from error
    if shapes(adapters(model)) != shapes(weights):
        raise InputError(wrong)
    set_peft_model_state_dict(model, weights)
    model.requires_grad_(False)


def shapes(weights: dict[str, Tensor]) -> dict[str, Size]:
    return {name: weight.shape for name, weight in weights.items()}


def merge_lora(model: nn.Module) -> None:
    """Adds the adapters to the weights beside them and takes them out: as fast as without, equal but for rounding."""
    for layer in adapted(model).values():
        layer.merge()
    remove_lora(model)


def remove_lora(model: nn.Module) -> None:
    """Leaves the layers that the adapters were beside, under their own names."""
    for name, layer in adapted(model).items():
        model.set_submodule(name, layer.get_base_layer())
    del model.peft_config


def adapted(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> layer with adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}
