"""The exponential moving average of what is trained: float32, beside the weights or on another device."""

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Of each parameter that is trained when it is made. Where parameters are sharded (FSDP2) a process averages its
    shards: the mean is elementwise, so no other is needed. What it gives and takes as a whole is whole."""

    def __init__(self, model: nn.Module, decay: float, device: str | None = None):
        """model: on its device, sharded if it is to be; decay: the most of a step; device: None is the weights'."""
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.limit, self.device, self.steps = decay, device, 0
        self.values = [value.clone() for value in self.shards()]

    def shards(self) -> list[Tensor]:
        """What this process now has of the parameters."""
        return [local(p).to(device=self.device, dtype=torch.float32) for p in self.parameters.values()]

    @property
    def decay(self) -> float:
        """Of the last step: it grows with their number, so that the first weights are soon forgotten (the warm-up of
        diffusers' EMAModel, power 3/4)."""
        return min(1 - self.steps**-0.75, self.limit) if self.steps else 0.0

    def step(self) -> None:
        """Takes in the parameters as they are now."""
        self.steps += 1
        get_ema_multi_avg_fn(self.decay)(self.values, self.shards(), None)

    def whole(self) -> dict[str, Tensor]:
        """Name -> average, on the main process; elsewhere it is empty. All processes must call it."""
        found, main = {}, PartialState().is_main_process
        for (name, parameter), value in zip(self.parameters.items(), self.values, strict=True):
            full = gathered(value, parameter)
            if main:
                found[name] = full.cpu()
        return found

    def state_dict(self) -> dict:
        """Whole on the main process, which writes it; all processes must call it."""
        return {"steps": self.steps, "values": self.whole()}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]
        for (name, parameter), value in zip(self.parameters.items(), self.values, strict=True):
            value.copy_(sharded(state["values"][name], parameter))


def local(parameter: Tensor) -> Tensor:
    """This process's part of it, without gradient."""
    return parameter.detach().to_local() if isinstance(parameter, DTensor) else parameter.detach()


def gathered(part: Tensor, parameter: Tensor) -> Tensor:
    """The whole of what is sharded like the parameter."""
    if not isinstance(parameter, DTensor):
        return part
    mesh, layout = parameter.device_mesh, {"shape": parameter.shape, "stride": parameter.stride()}
    return DTensor.from_local(part.to(mesh.device_type), mesh, parameter.placements, **layout).full_tensor()


def sharded(whole: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of the whole, sharded like the parameter."""
    if not isinstance(parameter, DTensor):
        return whole
    mesh = parameter.device_mesh
    return distribute_tensor(whole.to(mesh.device_type), mesh, parameter.placements).to_local()
