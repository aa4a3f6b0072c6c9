"""Exponential moving average (EMA) of the trained weights: float32, with the weights or on another device."""

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class ExponentialMovingAverage:
    """The average of each parameter that requires a gradient when it is made.

    Where parameters are sharded (FSDP2), each process averages its own shards: the average is elementwise. `gather` and
    the state dict hold full tensors.
    """

    def __init__(self, model: nn.Module, max_decay: float, device: str | None = None):
        """Start from the model's weights.

        Args:
            model: On its device, and already sharded if it is to be.
            max_decay: The decay that is reached after the warm-up.
            device: Where the average is stored; None: where the weights are.
        """
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.max_decay, self.device, self.steps = max_decay, device, 0
        self.values = [value.clone() for value in self.get_local_values()]

    def get_local_values(self) -> list[Tensor]:
        """This process's part of each parameter as it is now, float32."""
        return [get_local_shard(p).to(device=self.device, dtype=torch.float32) for p in self.parameters.values()]

    @property
    def decay(self) -> float:
        """The decay of the last step; it rises with the number of steps, so that the first weights soon stop to matter.

        It is the warm-up of diffusers' EMAModel with power 3/4.
        """
        return min(1 - self.steps**-0.75, self.max_decay) if self.steps else 0.0

    def update(self) -> None:
        """Add the parameters as they are now."""
        self.steps += 1
        get_ema_multi_avg_fn(self.decay)(self.values, self.get_local_values(), None)

    def gather(self) -> dict[str, Tensor]:
        """Name -> full average on the CPU of the main process, {} elsewhere; all processes must call it."""
        gathered, is_main = {}, PartialState().is_main_process
        for (name, parameter), value in zip(self.parameters.items(), self.values, strict=True):
            full = gather_shards(value, parameter)
            if is_main:
                gathered[name] = full.cpu()
        return gathered

    def state_dict(self) -> dict:
        """Return the state, complete on the main process, which writes it; all processes must call it."""
        return {"steps": self.steps, "values": self.gather()}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned."""
        self.steps = state["steps"]
        for (name, parameter), value in zip(self.parameters.items(), self.values, strict=True):
            value.copy_(take_local_shard(state["values"][name], parameter))


def get_local_shard(parameter: Tensor) -> Tensor:
    """Return this process's part (...) of a parameter, without gradient."""
    return parameter.detach().to_local() if isinstance(parameter, DTensor) else parameter.detach()


def gather_shards(shard: Tensor, parameter: Tensor) -> Tensor:
    """Return the full tensor of shards that are split as the parameter is.

    Args:
        shard: This process's part.
        parameter: The parameter, a DTensor if it is sharded.

    Returns:
        The full tensor, the shard itself if nothing is sharded.
    """
    if not isinstance(parameter, DTensor):
        return shard
    mesh, layout = parameter.device_mesh, {"shape": parameter.shape, "stride": parameter.stride()}
    return DTensor.from_local(shard.to(mesh.device_type), mesh, parameter.placements, **layout).full_tensor()


def take_local_shard(full: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a full tensor, split as the parameter is.

    Args:
        full: The full tensor.
        parameter: The parameter, a DTensor if it is sharded.

    Returns:
        The local part, the full tensor if nothing is sharded.
    """
    if not isinstance(parameter, DTensor):
        return full
    mesh = parameter.device_mesh
    return distribute_tensor(full.to(mesh.device_type), mesh, parameter.placements).to_local()
