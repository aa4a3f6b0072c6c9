"""Spread a run over devices and processes: precision, micro-batches, optimizer, FSDP and DeepSpeed.

Which samples a step has, and their random numbers, do not depend on how many processes and micro-batches there are.
"""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, GradientAccumulationPlugin
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from emo.core.config import Config
from emo.core.errors import InputError

if TYPE_CHECKING:
    from diffusers import ModelMixin


class SampleGenerators:
    """One torch.Generator for each of the B samples of a batch.

    Each is seeded by the run's seed and the sample's number, so a sample's noise is the same in whichever process or
    micro-batch it is computed.
    """

    def __init__(self, seed: int, numbers: range, device: torch.device):
        seeds = [np.random.SeedSequence([seed, number, 2]).generate_state(1, np.uint64)[0] for number in numbers]
        self.generators = [torch.Generator(device).manual_seed(int(value)) for value in seeds]

    def rand(self, *shape: int) -> Tensor:
        """Draw (B *shape) uniformly from [0, 1)."""
        return torch.stack([torch.rand(shape, generator=one, device=one.device) for one in self.generators])

    def randn(self, *shape: int) -> Tensor:
        """Draw (B *shape) from the standard normal distribution."""
        return torch.stack([torch.randn(shape, generator=one, device=one.device) for one in self.generators])


def make_accelerator(config: Config) -> Accelerator:
    """Set up the devices and processes of a run.

    Raises:
        InputError: A setting has an unknown value, or the batch can't be split evenly over processes and micro-batches.
    """
    if config.precision not in ("fp32", "bf16"):
        raise InputError(f"precision={config.precision}: choose fp32 or bf16")
    if config.ema_device not in (None, "cpu"):
        raise InputError(f"ema_device={config.ema_device}: choose cpu, or leave it out")
    if config.gradient_accumulation_steps < 1:
        raise InputError(f"gradient_accumulation_steps={config.gradient_accumulation_steps}: give 1 or more")
    cpu = config.device == "cpu" or not torch.accelerator.is_available()
    device = PartialState(cpu=cpu).device  # without cpu=, several processes on CPUs would not find each other
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if uses_bf16(config, device) else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.gradient_accumulation_steps),
        step_scheduler_with_optimizer=False,
    )
    if config.batch_size % (accelerator.num_processes * config.gradient_accumulation_steps):
        split = f"{accelerator.num_processes} processes x {config.gradient_accumulation_steps} micro-batches share it"
        raise InputError(f"batch_size={config.batch_size}: {split}, give a multiple of that")
    return accelerator


def uses_bf16(config: Config, device: torch.device) -> bool:
    """Return whether products are computed in bfloat16.

    CPUs without bfloat16 instructions emulate it (a step of `mini` took 11 times as long), so they use float32.

    Args:
        config: The run's settings.
        device: Where the model is.

    Returns:
        True for bfloat16, False for float32.
    """
    if config.precision == "fp32" or device.type != "cpu":
        return config.precision == "bf16"
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def split_step(step: int, config: Config, rank: int, processes: int) -> list[range]:
    """List the sample numbers of one process in a step, one range for each micro-batch.

    All processes together have the samples step * batch_size .. (step + 1) * batch_size - 1, so a run can be resumed
    with another number of processes or micro-batches.

    Args:
        step: Number of the step, from 0.
        config: Has the batch size and the number of micro-batches.
        rank: Index of the process.
        processes: Number of processes.

    Returns:
        A range of sample numbers for each micro-batch.
    """
    own = range(step * config.batch_size + rank, (step + 1) * config.batch_size, processes)
    size = len(own) // config.gradient_accumulation_steps
    return [own[i : i + size] for i in range(0, len(own), size)]


def make_optimizer(config: Config, parameters: list[nn.Parameter]) -> Optimizer:
    """Make the optimizer.

    Args:
        config: Names the optimizer, its learning rate and weight decay.
        parameters: The trainable parameters.

    Returns:
        The optimizer.

    Raises:
        InputError: The optimizer is unknown, or bitsandbytes is not installed.
    """
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **settings)
    if config.optimizer != "adamw8bit":
        raise InputError(f"optimizer={config.optimizer}: choose adamw or adamw8bit")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise InputError("optimizer=adamw8bit needs bitsandbytes: pip install it, or choose adamw") from error
    return AdamW8bit(parameters, **settings)


def configure_launcher(accelerator: Accelerator, config: Config) -> None:
    """Pass the run's settings to FSDP or DeepSpeed.

    Args:
        accelerator: The run's processes; its plugins are changed.
        config: The run's settings.

    Raises:
        InputError: They do not support a setting.
    """
    if accelerator.distributed_type == DistributedType.FSDP:
        if config.optimizer != "adamw":
            raise InputError(f"optimizer={config.optimizer} can't be sharded: choose adamw, or launch without FSDP")
        plugin = accelerator.state.fsdp_plugin
        if plugin is not None and accelerator.mixed_precision == "bf16":  # its own policy would sum gradients in bf16
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
            plugin.mixed_precision_policy = policy
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        settings = {
            "train_micro_batch_size_per_gpu": len(split_step(0, config, 0, accelerator.num_processes)[0]),
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "gradient_clipping": config.max_gradient_norm,
            "bf16": {"enabled": False},  # it would store all weights in bfloat16
            "torch_autocast": {"enabled": accelerator.mixed_precision == "bf16", "dtype": "bfloat16"},
        }
        if (deepspeed := accelerator.state.deepspeed_plugin) is not None:
            deepspeed.deepspeed_config |= settings


def prepare_model(accelerator: Accelerator, model: nn.Module, config: Config) -> tuple[nn.Module, Optimizer]:
    """Place the model on its devices and make its optimizer.

    Args:
        accelerator: Of the run.
        model: Changed in place, so that the names of its parameters stay as they are.
        config: The run's settings.

    Returns:
        The model and optimizer, wrapped for the launcher (DDP, FSDP or DeepSpeed).

    Raises:
        InputError: The model or the launcher does not support a setting.
    """
    if config.gradient_checkpointing:
        if not getattr(model, "_supports_gradient_checkpointing", False):
            raise InputError(f"gradient_checkpointing: task={config.task} does not support it, set it false")
        cast("ModelMixin", model).enable_gradient_checkpointing()
    if config.compile:
        model.compile()
    configure_launcher(accelerator, config)
    trained = [p for p in model.parameters() if p.requires_grad]
    return accelerator.prepare(model, make_optimizer(config, trained))


def clip_gradients(accelerator: Accelerator, model: nn.Module, max_norm: float) -> Tensor:
    """Clip the gradients to a norm.

    Args:
        accelerator: The run's processes.
        model: Its gradients are clipped in place.
        max_norm: Largest norm.

    Returns:
        The norm () before clipping, over all parameters and processes.
    """
    norm = accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], max_norm)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return torch.as_tensor(norm, device=accelerator.device)
