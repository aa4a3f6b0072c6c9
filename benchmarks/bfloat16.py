"""bfloat16 on a CPU that has no instructions for it, which multiplies it at a hundredth of the speed of float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

ATEN = torch.ops.aten
ATTENTION = ATEN._scaled_dot_product_flash_attention_for_cpu
HEAVY = {ATEN.mm, ATEN.addmm, ATEN.bmm, ATEN.baddbmm, ATEN.convolution, ATEN.convolution_backward}
HEAVY |= {ATTENTION, ATEN._scaled_dot_product_flash_attention_for_cpu_backward}


class Float32Products(TorchDispatchMode):
    """Products of bfloat16 tensors, taken in float32 and rounded."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket not in HEAVY:
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs or {}))
        result = func(*args, **kwargs)
        if func.overloadpacket is ATTENTION:  # beside the result, its log-sums stay as they are
            return result[0].bfloat16(), *result[1:]
        return tree_map_only(Tensor, Tensor.bfloat16, result)


def emulate_bfloat16_if_slow() -> AbstractContextManager:
    """Return a context that takes products of bfloat16 in float32 where the CPU has no instructions for them."""
    return nullcontext() if torch.ops.mkldnn._is_mkldnn_bf16_supported() else Float32Products()
