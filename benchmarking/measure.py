"""Quantiles, pairs, FLOPs of a training step, and the machine's own matmul ceiling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarking.worker import Contender, Facts, Worker
from diffusionlm.model.params import TransformerParams

CEILING_SIZES = (1024, 2048)
CEILING_SECONDS = 1.0


@dataclass(frozen=True)
class Quantiles:
    """The 20th, 50th and 80th percentile."""

    p20: float
    p50: float
    p80: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles:
        """Return the quantiles of at least one value, interpolated linearly."""
        points = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
        p20, p50, p80 = torch.quantile(torch.tensor(values, dtype=torch.float64), points).tolist()
        return cls(p20, p50, p80)


def pair_ratios(ours: Sequence[float], rival: Sequence[float]) -> Quantiles:
    """Return the quantiles of rival time / our time over rounds that ran next to each other: above 1 we are faster."""
    return Quantiles.of([theirs / mine for mine, theirs in zip(ours, rival, strict=True)])


def step_flops(shape: TransformerParams, classes: int, tokens: int, scored: float) -> float:
    """Return the model FLOPs of one optimizer step, forward and backward; recomputation does not count.

    A matmul with P weights costs 2·P FLOPs per token forward and twice that backward: 6·P. Attention over rows of T
    tokens costs 2·T·(heads · head width) multiply-adds per token and layer forward: 12·T·heads·head width FLOPs in all.
    Norms, softmax, embedding and optimizer do not count.

    Args:
        shape: The network.
        classes: Rows of the head.
        tokens: Tokens of the step.
        scored: Tokens that the last feed-forward and the head run on; ``tokens`` for a dense step.
    """
    wide = shape.heads * shape.resolved_head_width
    keys = shape.resolved_kv_heads * shape.resolved_head_width
    projections = 2 * shape.width * (wide + keys)
    feedforward = (3 if shape.activation == "swiglu" else 2) * shape.width * shape.resolved_hidden
    everywhere = shape.layers * projections + (shape.layers - 1) * feedforward
    attention = 12.0 * shape.layers * shape.context_length * wide * tokens
    return 6.0 * everywhere * tokens + 6.0 * (feedforward + shape.width * classes) * scored + attention


class _Matmuls(Contender):
    """Square matmuls, the densest work there is."""

    def __init__(self, device: str, dtype: torch.dtype, sizes: tuple[int, ...], seconds: float) -> None:
        self.device, self.dtype, self.sizes, self.seconds = torch.device(device), dtype, sizes, seconds
        self.best = 0.0

    def prepare(self, round_: int) -> None:
        """Nothing to prepare."""

    def run(self) -> None:
        for size in self.sizes:
            a, b = (torch.randn(size, size, device=self.device).to(self.dtype) for _ in range(2))
            out = a @ b
            end = time.perf_counter() + self.seconds / len(self.sizes)
            while time.perf_counter() < end:
                self.best = max(self.best, self._gflops(a, b, out))

    def _gflops(self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> float:
        cuda = self.device.type == "cuda"
        times = 50 if cuda else 1  # a GPU's launch must not count
        if cuda:
            torch.cuda.synchronize(self.device)
        began = time.perf_counter()
        for _ in range(times):
            torch.mm(a, b, out=out)
        if cuda:
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return times * 2.0 * len(a) ** 3 / (time.perf_counter() - began) / 1e9

    def facts(self) -> Facts:
        return {"gflops": self.best}


def build_matmuls(device: str, dtype: torch.dtype, sizes: tuple[int, ...], seconds: float) -> Contender:
    """Return the contender that measures the ceiling."""
    return _Matmuls(device, dtype, sizes, seconds)


def matmul_ceiling(
    device: torch.device,
    dtype: torch.dtype,
    threads: int = 0,
    sizes: tuple[int, ...] = CEILING_SIZES,
    seconds: float = CEILING_SECONDS,
) -> float:
    """Return the best GFLOP/s of square matmuls in a process of their own.

    Args:
        device: Where.
        dtype: Of both operands and the result.
        threads: CPU threads; 0 = torch's choice.
        sizes: Sides of the squares.
        seconds: How long to try.
    """
    with Worker(build_matmuls, (str(device), dtype, sizes, seconds), threads) as worker:
        worker.ready()
        worker.round(0)
        return float(worker.finish([]).facts["gflops"])
