"""An exponential moving average of the weights, which is what gets evaluated and sampled.

    ē ← ē + (1 - d)(θ - ē),   d = min(decay, (1 + s) / (10 + s)) with warm-up, after optimizer step s = 0, 1, …

The warm-up keeps the random initial weights from lingering in a short run. Reference: Polyak and Juditsky,
"Acceleration of stochastic approximation by averaging", 1992; the warm-up is the rule common in diffusion models.
"""

# torch publishes its _foreach functions without listing them.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.optim.base import canonical_names, copy_matching
from diffusionlm.params import Strict


class EMAParams(Strict):
    """The average of the weights."""

    decay: float = Field(default=0.999, ge=0, lt=1)
    """Share of the old average kept at each step."""
    warmup: bool = True
    """Start with a smaller decay, (1 + s) / (10 + s) after step s."""


class EMA:
    """The running average of a model's parameters, in their own dtype and on their device.

    Args:
        params: Its parameters.
        named_parameters: What to average; the average starts as a copy. Names may carry compile wrappers.
    """

    def __init__(self, params: EMAParams, named_parameters: Mapping[str, torch.Tensor]) -> None:
        self.params = params
        self.average = {name: p.detach().clone() for name, p in canonical_names(named_parameters).items()}
        self._swapped = False

    def decay(self, step: int) -> float:
        """Return d, the share of the old average that is kept after optimizer step ``step`` (from 0)."""
        return min(self.params.decay, (1 + step) / (10 + step)) if self.params.warmup else self.params.decay

    def update(self, named_parameters: Mapping[str, torch.Tensor], step: int) -> None:
        """Move the average towards the parameters after optimizer step ``step`` (from 0)."""
        average, parameters = self._aligned(named_parameters)
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - self.decay(step))

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Return the live averages (not copies) by canonical parameter name."""
        assert not self._swapped, "the average is swapped into the model; save outside of swap()"
        return dict(self.average)

    def load_state_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy saved averages into this one.

        Raises:
            CheckpointError: A name is missing or unknown, or a shape or dtype differs.
        """
        copy_matching(self.state_tensors(), tensors, "weight average")

    @contextmanager
    def swap(self, named_parameters: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Let the model hold the average inside the ``with`` block, and its own weights, bit for bit, after it.

        Values are exchanged in place, one tensor at a time, so that neither compiled code nor views of the parameters
        notice and the extra memory is one tensor.
        """
        average, parameters = self._aligned(named_parameters)
        self._exchange(average, parameters)
        self._swapped = True
        try:
            yield
        finally:
            self._exchange(average, parameters)
            self._swapped = False

    def _aligned(self, named_parameters: Mapping[str, torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return averages and parameters in one order."""
        assert not self._swapped, "the average is swapped into the model; train and swap outside of swap()"
        named = canonical_names(named_parameters)
        assert named.keys() == self.average.keys(), f"averaged {sorted(self.average)}, got {sorted(named)}"
        return list(self.average.values()), [named[name] for name in self.average]

    @staticmethod
    def _exchange(left: list[torch.Tensor], right: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for a, b in zip(left, right, strict=True):
                kept = a.clone()
                a.copy_(b)
                b.copy_(kept)
