"""Bench of ``diffusionlm.kernels.attention``: batched matmuls that keep the weights, next to PyTorch's own kernel.

python -m benchmarking.attention [output.csv]

Where the two lines cross is what ``SHORT_ROW`` and ``keeps_weights`` say.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarking.kernels import ForwardBackward, compare, table
from benchmarking.rows import KernelRow, append, check_header
from benchmarking.worker import Contender
from diffusionlm.kernels import attention
from diffusionlm.workflows.runtime import DTYPES, keep_memory
from diffusionlm.workflows.talk import say

TOKENS, HEADS, HEAD_WIDTH = 4096, 4, 64
LENGTHS = (64, 128, 256, 512, 1024)


def build(who: str, precision: str, shape: tuple[int, int, int, int], calls: int) -> Contender:
    """Return one implementation of attention over fresh (B, H, T, d) tensors, as a contender."""
    keep_memory()
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator).to(DTYPES[precision]).requires_grad_() for _ in range(3))  # type: ignore[index]
    # The kernel itself, not ``attend``: the bench also looks where the rule would choose the other.
    kernel = attention._MatmulAttention.apply if who == "matmul" else attention.reference
    return ForwardBackward(lambda: kernel(q, k, v, None), (q, k, v), calls)  # type: ignore[return-value,arg-type]


def bench(
    lengths: Sequence[int] = LENGTHS,
    precisions: Sequence[str] = ("bf16", "fp32"),
    tokens: int = TOKENS,
    repeats: int = 9,
    calls: int = 4,
) -> list[KernelRow]:
    """Measure forward plus backward at equal numbers of tokens."""
    rows = []
    for precision in precisions:
        for length in lengths:
            shape = (max(1, tokens // length), HEADS, length, HEAD_WIDTH)
            name = "B{} H{} T{} d{}".format(*shape)
            contenders = {who: (build, (who, precision, shape, calls)) for who in ("matmul", "sdpa")}
            rows += compare("attention", precision, name, contenders, repeats=repeats)
    return rows


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and append to the file that is named, if one is."""
    path = Path(arguments[0]) if arguments else None
    if path is not None:
        check_header(path, KernelRow)
    rows = bench()
    say(table(rows))
    if path is not None:
        append(path, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
