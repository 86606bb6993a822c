"""Attention under a block mask: PyTorch's FlexAttention, compiled on CUDA, plain elsewhere.

A block mask says which tiles of the (T, T) weights are empty, and the compiled kernel skips them. Uncompiled it holds
all weights, which is what tests on the CPU do. Dong et al. 2024, https://arxiv.org/abs/2412.05496.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@cache
def _kernel(compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False) if compiled else flex_attention


def flex_attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: BlockMask) -> torch.Tensor:
    """Return (B, H, T, d) attention; shapes as in ``diffusionlm.kernels.attention.attend``."""
    compiled = q.device.type == "cuda" and not torch.compiler.is_compiling()  # an outer graph takes it in as it is
    return _kernel(compiled)(q, k, v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
