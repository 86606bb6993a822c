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
from diffusionlm.objective.masking import MaskingParams
from diffusionlm.objective.rows import Loss, Rows, cross_entropy
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES
from diffusionlm.process.base import Bound, Corrupted, Process, View
from diffusionlm.process.head import Head, add_dense_evidence, convert_head
from diffusionlm.process.times import TimesParams
from diffusionlm.registry import params_name
from diffusionlm.rng import Draws

_STATES = {"ids": "token ids", "simplex": "points of the simplex"}


class ObjectiveParams(Strict):
    """What every objective has: the law of its training times, corruption modes, and what the network's output is."""

    times: TimesParams = TimesParams()
    """Training times."""
    masking: MaskingParams = MaskingParams()
    """Corruption modes of training: given prefix, cut suffix, noise in spans."""
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
            same at the masked positions of an absorbing process. A loss that scores noised positions alone has the
            second: of a token that is known to be noise there is nothing to learn from the token itself.
        is_bound: Whether its value, in nats per token, bounds the negative log-likelihood.
        states: The kinds of noisy state that it can train on.
        requires: The kind of process that it is for; a subclass of it fits too.
    """

    Params: ClassVar[type[Strict]]
    head: Head
    is_bound: ClassVar[bool] = False
    states: ClassVar[frozenset[str]] = frozenset({"ids"})
    requires: ClassVar[type[Process]] = Process

    def __init__(self, params: Any, process: Process) -> None:
        self.params, self.process = params, process
        self.head = self.minimiser(type(process))
        self.times: TimesParams = params.times  # a search may replace them on the way
        self.check(type(process))
        self.check_params(params, process.params)
        if self.network_head != self.head and not process.has_evidence:
            raise PairingError(
                f"objective.head = {self.network_head!r} cannot be converted: process "
                f"{params_name(type(process.params))!r} does not know q_t(z | x); leave objective.head unset"
            )

    @classmethod
    def minimiser(cls, process: type[Process]) -> Head:
        """Return the predictive that minimises it over a kind of process: ``head``, unless overridden."""
        del process
        return cls.head

    @classmethod
    def also_trains(cls, params: Any) -> tuple[str, ...]:
        """Return the names of processes that the network is trained on besides its own, and may be read as."""
        del params
        return ()

    @property
    def network_head(self) -> Head:
        """What the network that is trained predicts."""
        return self.params.head or self.process.network_head or self.head

    @property
    def reports_bound(self) -> bool:
        """Whether the training loss as it is configured is the bound itself, in nats per token."""
        return self.is_bound and self.times.whole_range and self.params.masking.never

    @property
    def scale(self) -> float:
        """What the weights of a token add up to on average: the loss of guessing is ``scale`` · ln K."""
        return 1.0

    @classmethod
    def check(cls, process: type[Process]) -> None:
        """Refuse a process that this objective cannot train.

        Raises:
            PairingError: In one line that lists what would fit.
        """
        reason = cls.refusal(process)
        if reason is not None:
            raise PairingError(f"{reason}; {_fitting(process)}")

    @classmethod
    def refusal(cls, process: type[Process]) -> str | None:
        """Return why this objective cannot train a process, in words, or None where it can."""
        if process.state not in cls.states:
            wanted = " or ".join(_STATES[state] for state in sorted(cls.states))
            return (
                f"objective {params_name(cls.Params)!r} needs states that are {wanted}; "
                f"process {params_name(process.Params)!r} has states on the {process.state}"
            )
        if cls.is_bound and process.bound == "none":
            return (
                f"process {params_name(process.Params)!r} has no likelihood bound; "
                f"objective {params_name(cls.Params)!r} needs one"
            )
        if not issubclass(process, cls.requires):
            return f"objective {params_name(cls.Params)!r} does not fit process {params_name(process.Params)!r}"
        return None

    @classmethod
    def tightness(cls, process: type[Process]) -> Bound:
        """Return whether its value bounds the likelihood, and equals the entropy at the head that minimises it."""
        return process.bound if cls.is_bound else "none"

    @classmethod
    def check_params(cls, params: Any, process: Any) -> None:
        """Refuse parameters that are valid alone and impossible with those of the process.

        Raises:
            PairingError: In one line.
        """
        method = PROCESSES[params_name(type(process))]
        if not params.masking.spans.never:
            _check_spans(method, process)
        times: TimesParams = params.times
        narrows = not times.whole_range or (times.search_every > 0 and times.law == "uniform")
        if narrows and method.bound_form == "dense" and _counts(process):
            raise PairingError(
                'objective.times.t_range and its search choose among times, and process.corruption = "exact_count" of '
                f"process {params_name(type(process))!r} draws the time after the number of noised tokens, which would "
                'no longer be that of such a time; leave t_range = [0, 1], or set process.corruption = "bernoulli"'
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
                turned = add_dense_evidence(logits, rows.state.evidence(rows.index, logits.dtype), have, want)
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
        """Return the 0-dim count (or sum of weights) that this batch adds to the loss's divisor."""


def _counts(process: Any) -> bool:
    """Return whether a process, by its parameters, fixes the number of noised tokens first."""
    return "corruption" in type(process).model_fields and process.corruption == "exact_count"


def _check_spans(method: type[Process], process: Any) -> None:
    """Refuse spans where a process does not choose positions one by one.

    Raises:
        PairingError: In one line.
    """
    if method.state != "ids" or not method.random:
        raise PairingError(
            f"objective.masking.spans needs noise that takes positions one by one, which process "
            f"{params_name(type(process))!r} does not; set objective.masking.spans = 0"
        )
    if _counts(process):
        raise PairingError(
            "objective.masking.spans needs positions that are chosen one by one, and process.corruption = "
            '"exact_count" counts them per document, where spans would favour some positions; '
            'set process.corruption = "bernoulli"'
        )


def _fitting(process: type[Process]) -> str:
    """Return which objectives fit a process, in words."""
    from diffusionlm.objective import OBJECTIVES

    fitting = [name for name in OBJECTIVES if OBJECTIVES[name].refusal(process) is None]
    return f"objectives that fit {params_name(process.Params)!r}: {', '.join(fitting) or 'none'}"
