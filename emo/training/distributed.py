"""The chance in a loss: each sample has its own, whichever process or micro-batch it falls to.

The chance in a loss: each sample has its own, whichever process or micro-batch it falls to.

A run on its devices: what settings and launcher make of model and optimizer, and how a step is shared out.
"""

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


class Generators:
    """One torch.Generator for each sample of a batch, from the run's seed and the sample's number alone."""

    def __init__(self, seed: int, numbers: range, device: torch.device):
        seeds = [np.random.SeedSequence([seed, number, 2]).generate_state(1, np.uint64)[0] for number in numbers]
        self.each = [torch.Generator(device).manual_seed(int(value)) for value in seeds]

    def rand(self, *shape: int) -> Tensor:
        """(B *shape) uniform in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=one, device=one.device) for one in self.each])

    def randn(self, *shape: int) -> Tensor:
        """(B *shape) of the standard normal distribution."""
        return torch.stack([torch.randn(shape, generator=one, device=one.device) for one in self.each])


def make_accelerator(config: Config) -> Accelerator:
    """Raises InputError for a value that is none, and a batch that processes and micro-batches can't share evenly."""
    if config.precision not in ("fp32", "bf16"):
        raise InputError(f"precision={config.precision}: choose fp32 or bf16")
    if config.ema_device not in (None, "cpu"):
        raise InputError(f"ema_device={config.ema_device}: choose cpu, or leave it out")
    if config.gradient_accumulation_steps < 1:
        raise InputError(f"gradient_accumulation_steps={config.gradient_accumulation_steps}: give 1 or more")
    cpu = config.device == "cpu" or not torch.accelerator.is_available()
    device = PartialState(cpu=cpu).device  # told of no CPU, several processes would each train alone
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if in_bf16(config, device) else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.gradient_accumulation_steps),
        step_scheduler_with_optimizer=False,
    )
    if config.batch_size % (accelerator.num_processes * config.gradient_accumulation_steps):
        shared = f"{accelerator.num_processes} processes x {config.gradient_accumulation_steps} micro-batches share it"
        raise InputError(f"batch_size={config.batch_size}: {shared}, give a multiple of that")
    return accelerator


def in_bf16(config: Config, device: torch.device) -> bool:
    """Whether products are of bf16. Where a CPU has none of its own it is made up, and a step of `mini` took eleven
    times as long: float32 is used there."""
    if config.precision == "fp32" or device.type != "cpu":
        return config.precision == "bf16"
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def micro_batches(step: int, config: Config, rank: int, processes: int) -> list[range]:
    """Which of the run's samples one process has in a step, one micro-batch after the other. With other processes or
    micro-batches a run goes on where it stopped."""
    own = range(step * config.batch_size + rank, (step + 1) * config.batch_size, processes)
    size = len(own) // config.gradient_accumulation_steps
    return [own[i : i + size] for i in range(0, len(own), size)]


def make_optimizer(config: Config, parameters: list[nn.Parameter]) -> Optimizer:
    """Raises InputError for an unknown one, and where bitsandbytes is missing."""
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


def tell_launcher(accelerator: Accelerator, config: Config) -> None:
    """FSDP and DeepSpeed what they must know of the run. Raises InputError for what they can't do."""
    if accelerator.distributed_type == DistributedType.FSDP:
        if config.optimizer != "adamw":
            raise InputError(f"optimizer={config.optimizer} knows no shards: choose adamw, or launch without FSDP")
        if accelerator.mixed_precision == "bf16":  # accelerate's own policy would sum gradients in bf16 as well
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
            accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": len(micro_batches(0, config, 0, accelerator.num_processes)[0]),
            "gradient_accumulation_steps": config.gradient_accumulation_steps,
            "gradient_clipping": config.clip_norm,
            "bf16": {"enabled": False},  # or all weights are of half precision
            "torch_autocast": {"enabled": accelerator.mixed_precision == "bf16", "dtype": "bfloat16"},
        }


def prepare(accelerator: Accelerator, model: nn.Module, config: Config) -> tuple[nn.Module, Optimizer]:
    """The model, changed in place so that its parameters' names stay, and its optimizer, as the launcher spreads them.

    Raises InputError for what the model or the launch can't do.
    """
    if config.gradient_checkpointing:
        if not getattr(model, "_supports_gradient_checkpointing", False):
            raise InputError(f"gradient_checkpointing: task={config.task} can't, set it false")
        model.enable_gradient_checkpointing()
    if config.compile:
        model.compile()
    tell_launcher(accelerator, config)
    trained = [p for p in model.parameters() if p.requires_grad]
    return accelerator.prepare(model, make_optimizer(config, trained))


def clip_gradient(accelerator: Accelerator, model: nn.Module, limit: float) -> Tensor:
    """Its norm () over all processes, before it is clipped."""
    norm = accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], limit)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return torch.as_tensor(norm, device=accelerator.device)
