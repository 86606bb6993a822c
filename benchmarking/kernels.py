"""What the kernel benches share: a kernel and its reference in turns, forward and backward, as rows and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from benchmarking.measure import Quantiles, pair_ratios
from benchmarking.rows import KernelRow, here
from benchmarking.worker import Contender, in_turns


class ForwardBackward(Contender):
    """A differentiable function of some tensors, and its gradient.

    Args:
        function: Returns the tensor or scalar to differentiate.
        leaves: Tensors that get gradients.
        calls: How often a round calls it, so that a round is long enough for the clock.
    """

    def __init__(self, function: Callable[[], torch.Tensor], leaves: Sequence[torch.Tensor], calls: int) -> None:
        self.function, self.leaves, self.calls = function, leaves, calls
        self.device = leaves[0].device
        self.outward: torch.Tensor | None = None

    def prepare(self, round_: int) -> None:
        if self.outward is None:
            with torch.no_grad():
                self.outward = torch.ones_like(self.function())

    def run(self) -> None:
        for _ in range(self.calls):
            torch.autograd.grad(self.function(), self.leaves, self.outward)

    def facts(self) -> dict[str, int]:
        """Return how many calls a round has."""
        return {"calls": self.calls}


def compare(
    bench: str,
    precision: str,
    shape: str,
    contenders: dict[str, tuple[Callable[..., Contender], tuple[Any, ...]]],
    *,
    warmup: int = 2,
    repeats: int = 9,
    threads: int = 0,
) -> list[KernelRow]:
    """Time a kernel (the first contender) and its references in turns, each in its own process."""
    measured = in_turns(contenders, warmup=warmup, repeats=repeats, threads=threads)
    rows = []
    ours = next(iter(measured))
    for name, mine in measured.items():
        time = Quantiles.of([1000.0 * seconds / mine.facts["calls"] for seconds in mine.seconds])
        ratio: dict[str, Any] = {"ratio_p20": None, "ratio_p50": None, "ratio_p80": None}
        if name == ours and len(measured) == 2:
            (other,) = set(measured) - {ours}
            pairs = pair_ratios(mine.seconds, measured[other].seconds)
            ratio = {f"ratio_{quantile}": value for quantile, value in asdict(pairs).items()}
        rows.append(
            KernelRow(
                **here(mine.device, mine.threads),  # type: ignore[arg-type]
                bench=bench,
                contender=name,
                precision=precision,
                shape=shape,
                repeats=repeats,
                p20_ms=time.p20,
                p50_ms=time.p50,
                p80_ms=time.p80,
                base_mb=mine.base_mb,
                peak_mb=mine.peak_mb,
                **ratio,
            )
        )
    return rows


def table(rows: Sequence[KernelRow]) -> str:
    """Return rows for people."""
    lines = [f"{'shape':<28}{'dtype':<7}{'contender':<14}{'p20 ms':>9}{'p50 ms':>9}{'p80 ms':>9}{'MiB':>8}{'ratio':>8}"]
    for row in rows:
        ratio = "" if row.ratio_p50 is None else f"{row.ratio_p50:.2f}×"
        lines.append(
            f"{row.shape:<28}{row.precision:<7}{row.contender:<14}{row.p20_ms:>9.2f}{row.p50_ms:>9.2f}"
            f"{row.p80_ms:>9.2f}{row.peak_mb - row.base_mb:>8.0f}{ratio:>8}"
        )
    return "\n".join(lines)
