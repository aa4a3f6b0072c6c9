"""The LoRA methods of a pipeline, named as in diffusers."""

from collections.abc import Sequence
from pathlib import Path

from emo.models.emo import EMOModel
from emo.models.lora import DEFAULT_NAME, fuse_lora, list_adapters, load_lora, remove_lora, set_adapters, unfuse_lora


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
