"""What a training objective is: which positions it scores, with what weight, and what it divides by.

    loss = Σ_rows weight · CE(row) / denominator

Everything else (gathering the rows before the head, the chunked cross-entropy, splitting over micro-batches and ranks)
is one engine shared by all objectives, so none of them can normalise differently by accident.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from diffusionlm.errors import PairingError
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.base import Corrupted, Process
from diffusionlm.process.times import TimesParams
from diffusionlm.rng import Draws

Head = Literal["posterior", "leave_one_out"]


class ObjectiveParams(Strict):
    """What every objective has: the law of its training times."""

    times: TimesParams = TimesParams()
    """Training times."""


class Objective(ABC):
    """A training objective over corrupted batches.

    Class attributes:
        Params: The parameter class; its ``name`` is the registry name.
        head: The predictive that minimises it: p(x_i | z) or the leave-one-out p(x_i | z without z_i). The two are the
            same at the masked positions of an absorbing process.
        is_bound: Whether its value, in nats per token, bounds the negative log-likelihood.
    """

    Params: ClassVar[type[Strict]]
    head: ClassVar[Head]
    is_bound: ClassVar[bool] = False

    def __init__(self, params: Any, process: Process) -> None:
        self.params, self.process = params, process
        self.check(type(process))

    @classmethod
    def check(cls, process: type[Process]) -> None:
        """Refuse a process that this objective cannot train.

        Raises:
            PairingError: In one line that says what would fit.
        """
        if process.state != "ids":
            raise PairingError(
                f"objective {cls.Params.model_fields['name'].default!r} needs states that are token ids; "
                f"process {process.Params.model_fields['name'].default!r} has states on the {process.state}"
            )
        if cls.is_bound and process.bound == "none":
            raise PairingError(
                f"process {process.Params.model_fields['name'].default!r} has no likelihood bound; "
                f"objective {cls.Params.model_fields['name'].default!r} needs one: choose ce or llada"
            )

    def clock(self, t: torch.Tensor) -> torch.Tensor:
        """Return the times at which to corrupt, from the stratified times t; the identity unless overridden."""
        return t

    def crop(self, segments: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return the segments that count, (B, T) int64 with 0 = leave out; the identity unless overridden."""
        return segments

    @abstractmethod
    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        """Return (B, T) bool, the positions whose cross-entropy enters the loss."""

    @abstractmethod
    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        """Return (B, T) float64, the weight of each scored position."""

    @abstractmethod
    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        """Return the 0-dim int64 count that this batch adds to the loss's divisor."""
