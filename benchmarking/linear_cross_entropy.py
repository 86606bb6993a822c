"""Bench of ``diffusionlm.kernels.linear_cross_entropy``: chunks of logits, next to all of them at once.

python -m benchmarking.linear_cross_entropy [output.csv]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarking.kernels import ForwardBackward, compare, table
from benchmarking.rows import KernelRow, append, check_header
from benchmarking.worker import Contender
from diffusionlm.kernels.linear_cross_entropy import linear_cross_entropy, reference
from diffusionlm.workflows.runtime import DTYPES, keep_memory
from diffusionlm.workflows.talk import say

SHAPES = ((4096, 128, 257), (2048, 256, 8192), (2048, 256, 50257))


def build(who: str, precision: str, shape: tuple[int, int, int], calls: int) -> Contender:
    """Return one implementation over N rows of width D and K classes, as a contender."""
    keep_memory()
    rows, width, classes = shape
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).to(DTYPES[precision]).requires_grad_()  # type: ignore[index]
    weight = (torch.randn(classes, width, generator=generator) / width).requires_grad_()
    target = torch.randint(classes, (rows,), generator=generator)
    function = linear_cross_entropy if who == "chunked" else reference
    each = torch.full((rows,), 1.0 / rows)
    return ForwardBackward(lambda: function(hidden, weight, target, each)[0], (hidden, weight), calls)


def bench(
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    precisions: Sequence[str] = ("bf16", "fp32"),
    repeats: int = 9,
    calls: int = 2,
) -> list[KernelRow]:
    """Measure forward plus backward, time and memory."""
    rows = []
    for precision in precisions:
        for shape in shapes:
            name = "N{} D{} K{}".format(*shape)
            contenders = {who: (build, (who, precision, shape, calls)) for who in ("chunked", "dense")}
            rows += compare("linear_cross_entropy", precision, name, contenders, repeats=repeats)
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
