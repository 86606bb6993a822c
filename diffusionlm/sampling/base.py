"""What a sampler is: one rule that moves a batch of noisy canvases from time t to a later time.

The loop (``diffusionlm.generation.loop``) owns everything that all samplers share: blocks, frozen positions, the random
streams, the count of network evaluations, the trace, the stop. A sampler answers three questions about a ``State``:
where the network's output is needed (``plan``), what the canvas becomes (``step``) and whether a row's block is
finished (``finished``). A rule that needs no network output at a step names no sites, and the loop then makes no call;
a rule that keeps its own clock returns the time it has reached; a rule with a memory returns it.

What a sampler can work with is declared on its class (``requires``, ``heads``) and wrong pairs are refused when a
configuration loads. docs/MATH.md §4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from diffusionlm.errors import PairingError
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES, Process
from diffusionlm.process.base import Tokens
from diffusionlm.process.head import Head
from diffusionlm.registry import params_name
from diffusionlm.rng import Draws
from diffusionlm.sampling.filters import Filters

Law = Literal["joint", "single", "heuristic"]


class Predictor(Protocol):
    """A head: the distribution of the clean token at chosen positions of noisy canvases.

    Attributes:
        kind: ``posterior``, p(x_i given z), or ``leave_one_out``, p(x_i given z without z_i). At a masked position of
            a mask process they are the same.
    """

    kind: Head

    def predict(self, z: Tokens, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K), float32 or float64; the mask token and unused model rows have no column.

        Args:
            z: (B, T) int64, the canvases, or the state that the plan shows in their place.
            t: (B, T) float64, the time that the network is told.
            rows: (N,) int64 flat indices into the B·T positions, ascending.
        """
        ...


@dataclass(frozen=True)
class State:
    """Where a batch of canvases stands before a step.

    Attributes:
        z: (B, T) int64, the canvases.
        open: (B, T) bool, the positions of each row's current block: the only ones that may change. All False in a row
            that is finished.
        t: (B,) float64, each row's time within its block.
        step: (B,) int64, steps already taken in the block.
        steps: (B,) int64, steps planned for the block.
        draws: Random numbers of this step, one stream per sample.
        memory: What the sampler returned from its last step (``start`` before the first).
        draft: (B, T) bool, positions that began as a given text and not as noise; None = there are none.
    """

    z: torch.Tensor
    open: torch.Tensor
    t: torch.Tensor
    step: torch.Tensor
    steps: torch.Tensor
    draws: Draws
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    draft: torch.Tensor | None = None

    def grid(self) -> torch.Tensor:
        """Return the next time of the uniform grid, (B,) float64; exactly 1 at a block's last planned step."""
        return ((self.step + 1).double() / self.steps.clamp_min(1).double()).clamp(max=1.0)


@dataclass(frozen=True)
class Plan:
    """What a sampler decides before the network is asked.

    Attributes:
        sites: (B, T) bool, the positions whose predictive it needs; a row without any costs no network evaluation.
        u: (B,) float64, the time that the step aims at.
        told: (B,) float64, the time within the block at which the network is asked, where a sampler's own clock says
            another than ``State.t``.
        shown: What the network is shown, where that is not the canvas: a state on the simplex.
    """

    sites: torch.Tensor
    u: torch.Tensor
    told: torch.Tensor | None = None
    shown: Tokens | None = None


@dataclass(frozen=True)
class Step:
    """What a step returns.

    Attributes:
        z: (B, T) int64, the new canvases; changes outside ``State.open`` are discarded.
        t: (B,) float64, the time reached.
        confidence: (B, T) float64, the unfiltered probability of each newly placed token, NaN elsewhere.
        memory: What the sampler wants to find in the next ``State``.
    """

    z: torch.Tensor
    t: torch.Tensor
    confidence: torch.Tensor
    memory: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class TraceStep:
    """The changes of one step of the loop, for every sample of a batch; M changes in all.

    Attributes:
        step: The step of the loop, from 0.
        sample: (M,) int64, the sample's index.
        position: (M,) int64, the position in its canvas.
        old: (M,) int64, the token before.
        new: (M,) int64, the token after.
        confidence: (M,) float64, the unfiltered probability of the new token; NaN where the sampler has none.
    """

    step: int
    sample: torch.Tensor
    position: torch.Tensor
    old: torch.Tensor
    new: torch.Tensor
    confidence: torch.Tensor


class Sampler(ABC):
    """A rule (state, head output, t, u) → state at u > t.

    Class attributes:
        Params: The parameter class; its ``name`` is the registry name.
        requires: The kind of process that the rule is for; a subclass of it fits too.
        heads: The kinds of head whose output the rule can use.
        monotone: A token, once placed, never changes. The loop may then stop a row as soon as nothing before its
            end-of-text token can change. It may depend on the process and the parameters, and is then set for each
            instance.
        from_draft: The rule may start from a given text in the place of noise.
        own_pace: How many calls it takes is the rule's own affair: the number of steps changes nothing.

    Args:
        params: An instance of ``Params``.
        process: The noising process; it owns the schedule κ(t) and the vocabulary.
        filters: Temperature, top-k and top-p of the token draws.
    """

    Params: ClassVar[type[Strict]]
    requires: ClassVar[type[Process]]
    heads: ClassVar[frozenset[Head]] = frozenset({"posterior", "leave_one_out"})
    monotone: bool = True
    from_draft: ClassVar[bool] = False
    own_pace: ClassVar[bool] = False

    def __init__(self, params: Any, process: Process, filters: Filters) -> None:
        self.check(type(process))
        self.params = params
        self.process = process
        self.filters = filters

    @property
    def law(self) -> Law:
        """What the samples' law is when the head is exact.

        ``joint``: the data law, in the limit of many steps; ``single``: the law of one position only; ``heuristic``:
        neither.
        """
        return "joint"

    @classmethod
    def check(cls, process: type[Process]) -> None:
        """Refuse a process that the rule is not for.

        Raises:
            PairingError: One line that lists the samplers and the processes that would fit.
        """
        if issubclass(process, cls.requires):
            return
        from diffusionlm.sampling import SAMPLERS

        name, noise = params_name(cls.Params), params_name(process.Params)
        samplers = [other for other in SAMPLERS if issubclass(process, SAMPLERS[other].requires)]
        processes = [other for other in PROCESSES if issubclass(PROCESSES[other], cls.requires)]
        raise PairingError(
            f"sampler {name!r} does not fit process {noise!r}; samplers that fit {noise!r}: "
            f"{', '.join(samplers) or 'none'}; processes that fit {name!r}: {', '.join(processes) or 'none'}"
        )

    def check_draft(self) -> None:
        """Refuse to start from a draft where the rule starts from noise only.

        Raises:
            PairingError: One line that lists the samplers that can.
        """
        if not self.from_draft:
            from diffusionlm.sampling import SAMPLERS

            able = ", ".join(name for name in SAMPLERS if SAMPLERS[name].from_draft)
            raise PairingError(
                f"sampler {params_name(self.Params)!r} starts from noise and cannot start from a draft; "
                f"samplers that can: {able}"
            )

    def wanted_head(self, kind: Head) -> Head:
        """Return the kind of head that the rule reads, given the one that there is.

        Raises:
            PairingError: One line, where the one that there is cannot be used or converted.
        """
        if kind in self.heads:
            return kind
        if not self.process.has_evidence:
            raise PairingError(
                f"sampler {params_name(self.Params)!r} cannot use a {kind!r} head; it needs "
                f"{' or '.join(sorted(self.heads))}, and process {params_name(type(self.process.params))!r} cannot "
                "convert it: its q_t(z | x) is not known"
            )
        return min(self.heads)

    def start(self, z: torch.Tensor, editable: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the memory before the first step; ``z`` (B, T) int64 is the state at t = 0, ``editable`` (B, T)."""
        del z, editable
        return {}

    @abstractmethod
    def plan(self, state: State) -> Plan:
        """Say where the network's output is needed for the next step."""

    @abstractmethod
    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        """Take one step.

        Args:
            state: The state before it.
            plan: What ``plan`` returned.
            rows: (N,) int64, the flat indices of ``plan.sites``, ascending.
            logits: (N, K), the head's output there.
        """

    def finished(self, state: State) -> torch.Tensor:
        """Return (B,) bool: rows whose current block needs no further step."""
        if self.monotone:
            return ~self.noise(state).any(1)
        return state.t >= 1.0

    def most_steps(self, steps: int, tokens: int) -> int:
        """Return an upper bound on the steps of a whole run that was asked for ``steps`` over ``tokens`` positions."""
        return steps + tokens

    def noise(self, state: State) -> torch.Tensor:
        """Return (B, T) bool: the open positions that still hold noise."""
        return state.open & self.process.is_noise(state.z)


def place(z: torch.Tensor, rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return a copy of ``z`` (B, T) with ``values`` (N,) at the flat indices ``rows`` (N,)."""
    return z.flatten().index_copy(0, rows, values.to(z.dtype)).view_as(z)
