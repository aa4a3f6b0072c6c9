"""Count floating-point operations by shapes; a multiplication and its addition are two."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ATTENTION = {  # torch's own table has the GPUs' alone; arguments are shapes
    FLASH: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    FLASH_BACKWARD: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v),
}


def flop_counter() -> FlopCounterMode:
    """Counts matrix products, convolutions and attention while it lasts, on a CPU, too; `get_total_flops()` says."""
    return FlopCounterMode(display=False, custom_mapping=ATTENTION)


def matmul_flops_per_second(device: torch.device, dtype: torch.dtype, side: int = 2048, repeats: int = 3) -> float:
    """The most that this machine does in products of square matrices: the best of `repeats`."""
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    least = float("inf")
    for _ in range(repeats + 1):  # the first also warms up
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # which waits until it is done
        least = min(least, time.perf_counter() - began)
    return 2 * side**3 / least
