"""What a training objective is: which positions it scores, with what weight and loss, and what it divides by.

    loss = Σ_rows weight · loss(row) / denominator

Everything else (gathering the rows before the head, forming logits in chunks, splitting over micro-batches and ranks,
converting the head) is one engine shared by all objectives, so none of them can normalise differently by accident.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from diffusionlm.errors import PairingError
from diffusionlm.lazy import torch
from diffusionlm.objective.bound import Scored
from diffusionlm.objective.rows import Loss, Rows, cross_entropy
from diffusionlm.params import Strict
from diffusionlm.process.base import Corrupted, Process, View
from diffusionlm.process.head import Head, add_evidence, convert_head
from diffusionlm.process.times import TimesParams
from diffusionlm.registry import params_name
from diffusionlm.rng import Draws

_STATES = {"ids": "token ids", "simplex": "points of the simplex"}


class ObjectiveParams(Strict):
    """What every objective has: the law of its training times, and what the network's output is."""

    times: TimesParams = TimesParams()
    """Training times."""
    head: Head | None = None
    """What the network's output is; unset = the predictive that minimises the objective. Another one is converted."""


@dataclass(frozen=True)
class Term:
    """One pass of the network in a loss.

    Attributes:
        view: What the network is shown.
        scored: Which positions count, and how.
    """

    view: View
    scored: Scored


class Objective(ABC):
    """A training objective over corrupted batches.

    Class attributes:
        Params: The parameter class; its ``name`` is the registry name.
        head: The predictive that minimises it: p(x_i | z) or the leave-one-out p(x_i | z without z_i). The two are the
            same at the masked positions of an absorbing process.
        is_bound: Whether its value, in nats per token, bounds the negative log-likelihood.
        states: The kinds of noisy state that it can train on.
    """

    Params: ClassVar[type[Strict]]
    head: ClassVar[Head]
    is_bound: ClassVar[bool] = False
    states: ClassVar[frozenset[str]] = frozenset({"ids"})

    def __init__(self, params: Any, process: Process) -> None:
        self.params, self.process = params, process
        self.check(type(process))
        if self.network_head != self.head and not process.has_evidence:
            raise PairingError(
                f"objective.head = {self.network_head!r} cannot be converted: process "
                f"{params_name(type(process.params))!r} does not know q_t(z | x); leave objective.head unset"
            )

    @property
    def network_head(self) -> Head:
        """What the network that is trained predicts."""
        return self.params.head or self.process.network_head or self.head

    @classmethod
    def check(cls, process: type[Process]) -> None:
        """Refuse a process that this objective cannot train.

        Raises:
            PairingError: In one line that lists what would fit.
        """
        if process.state not in cls.states:
            wanted = " or ".join(_STATES[state] for state in sorted(cls.states))
            raise PairingError(
                f"objective {params_name(cls.Params)!r} needs states that are {wanted}; "
                f"process {params_name(process.Params)!r} has states on the {process.state}; {_fitting(process)}"
            )
        if cls.is_bound and process.bound == "none":
            raise PairingError(
                f"process {params_name(process.Params)!r} has no likelihood bound; "
                f"objective {params_name(cls.Params)!r} needs one; {_fitting(process)}"
            )

    def clock(self, t: torch.Tensor) -> torch.Tensor:
        """Return the times at which to corrupt, from the stratified times t; the identity unless overridden."""
        return t

    def crop(self, segments: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return the segments that count, (B, T) int64 with 0 = leave out; the identity unless overridden."""
        return segments

    def terms(
        self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor
    ) -> list[Term]:
        """Return the passes of the network that make the loss; one over the noisy state unless overridden."""
        view = self.process.view(corrupted, x_1, segments, positions)
        scored = Scored(self.scored(corrupted), self.weight(corrupted), self.with_head(self.loss()))
        return [Term(view, scored)]

    def loss(self) -> Loss | None:
        """Return the loss of a row; None, the plain cross-entropy, unless overridden."""
        return None

    def with_head(self, loss: Loss | None) -> Loss | None:
        """Return a loss of the network's own head from one of the head that minimises the objective."""
        have, want, vocabulary = self.network_head, self.head, self.process.vocabulary
        if have == want:
            return loss

        def converted(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
            if rows.state is not None:
                turned = add_evidence(logits, rows.state.evidence(rows.index, logits.dtype), have, want)
            else:
                assert rows.noise is not None, "a discrete process knows its noise"
                turned = convert_head(logits, rows.z, rows.noise, vocabulary, have, want)
            return cross_entropy(turned, rows) if loss is None else loss(turned, rows)

        return converted

    @abstractmethod
    def scored(self, corrupted: Corrupted) -> torch.Tensor:
        """Return (B, T) bool, the positions whose loss enters."""

    @abstractmethod
    def weight(self, corrupted: Corrupted) -> torch.Tensor:
        """Return (B, T) float64, the weight of each scored position."""

    @abstractmethod
    def denominator(self, corrupted: Corrupted) -> torch.Tensor:
        """Return the 0-dim int64 count that this batch adds to the loss's divisor."""


def _fitting(process: type[Process]) -> str:
    """Return which objectives fit a process, in words."""
    from diffusionlm.objective import OBJECTIVES

    fitting = []
    for name in OBJECTIVES:
        other = OBJECTIVES[name]
        if process.state in other.states and not (other.is_bound and process.bound == "none"):
            fitting.append(name)
    return f"objectives that fit {params_name(process.Params)!r}: {', '.join(fitting) or 'none'}"
