"""Bench of ``diffusionlm.kernels.linear_row_loss``: losses that read a whole distribution, next to cross-entropy.

python -m benchmarking.linear_row_loss [output.csv]

``bound`` is the tight bound's divergence with its own gradient, ``autograd`` the same by autograd, ``gkl`` the
generalised KL, ``ce`` the chunked cross-entropy that masks alone need. All are forward plus backward.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarking.kernels import ForwardBackward, compare, table
from benchmarking.rows import KernelRow, append, check_header
from benchmarking.worker import Contender
from diffusionlm.kernels.linear_cross_entropy import linear_cross_entropy
from diffusionlm.kernels.linear_row_loss import linear_row_loss
from diffusionlm.kernels.marginal_divergence import reference
from diffusionlm.objective.bound import divergence
from diffusionlm.objective.gkl import generalised_kl
from diffusionlm.objective.rows import Rows
from diffusionlm.process.noise import Noise
from diffusionlm.workflows.runtime import DTYPES, keep_memory
from diffusionlm.workflows.talk import say

SHAPES = ((4096, 128, 257), (2048, 256, 8192), (512, 256, 50257))
CONTENDERS = ("bound", "autograd", "gkl", "ce")


def build(who: str, precision: str, shape: tuple[int, int, int], calls: int) -> Contender:
    """Return one loss over N rows of width D and K classes under uniform noise, as a contender."""
    keep_memory()
    rows, width, classes = shape
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).to(DTYPES[precision]).requires_grad_()  # type: ignore[index]
    weight = (torch.randn(classes, width, generator=generator) / width).requires_grad_()
    x, z = (torch.randint(classes, (rows,), generator=generator) for _ in range(2))
    each = torch.full((rows,), 1.0 / rows)
    t = torch.linspace(0.01, 0.99, rows, dtype=torch.float64)
    one, zero = torch.ones_like(t), torch.zeros_like(t)
    noise = Noise(t, one, zero, zero, 1.0 - t, -one, classes)
    given = Rows(x, z, t, noise, torch.arange(rows))
    losses = {
        "bound": divergence,
        "gkl": generalised_kl,
        "autograd": lambda logits, at: reference(
            logits, at.x, at.z, at.noise.kappa.float(), at.noise.uniform.float() / classes
        ),
    }

    def function() -> torch.Tensor:
        if who == "ce":
            return linear_cross_entropy(hidden, weight, x, each)[0]
        return linear_row_loss(hidden, weight, each, lambda logits, part: losses[who](logits, given.part(part)))[0]

    return ForwardBackward(function, (hidden, weight), calls)


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
            contenders = {who: (build, (who, precision, shape, calls)) for who in CONTENDERS}
            rows += compare("linear_row_loss", precision, name, contenders, repeats=repeats)
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
