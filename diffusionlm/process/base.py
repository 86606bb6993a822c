"""What a noising process is: a law q_t(z | x) that runs from noise (t = 0) to data (t = 1).

Everything that trains, scores or samples asks a process the same few questions; what a process can answer (a tight
bound, states that are ids) is declared on its class, and wrong pairs are refused when a configuration loads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.head import Head
from diffusionlm.process.layout import Layout
from diffusionlm.process.noise import Noise
from diffusionlm.process.schedules import Schedule
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.rng import Draws

Bound = Literal["tight", "loose", "none"]
BoundForm = Literal["ce", "dense"]
State = Literal["ids", "simplex"]
Measure = Literal["t", "level", "kappa"]
Choice = Literal["exact_count", "bernoulli"]


class Embeddable(Protocol):
    """A noisy state that is not token ids (a point of the simplex at each position), as the network takes it in."""

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        ...

    def embed(self, table: torch.Tensor) -> torch.Tensor:
        """Return (B, T, D) input states for an embedding table (rows, D), differentiable in the table."""
        ...

    def evidence(self, rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return (N, K): ln q_t(x_t | x = k) up to a constant per row, at flat indices ``rows`` (N,) into B·T."""
        ...


if TYPE_CHECKING:
    Tokens: TypeAlias = torch.Tensor | Embeddable
else:
    Tokens = Any


@dataclass(frozen=True)
class Corrupted:
    """A batch of noisy states.

    Attributes:
        x_t: (B, T) int64, the noisy tokens; or a state on the simplex.
        t: (B, T) float64, the time of each position.
        noised: (B, T) bool, positions that the process noised.
        editable: (B, T) bool, positions that it was allowed to noise.
        weight: (B, T) float64, the bound's weight where a position enters it, 0 elsewhere.
        noise_probability: (B, T) float64, the probability with which each editable position was noised.
        noise: ν_t at the positions, (B, T) each; None where the process is not discrete.
        importance: (B, T) float64, what a state counts that was drawn by another law than its own: training times that
            are not uniform, a number of noised tokens that was fixed first; None = 1 each. The engine multiplies every
            weight by it.
        segments: (B, T) int64, the document segments of a training batch, 0 = padding.
    """

    x_t: Tokens
    t: torch.Tensor
    noised: torch.Tensor
    editable: torch.Tensor
    weight: torch.Tensor
    noise_probability: torch.Tensor
    noise: Noise | None = None
    importance: torch.Tensor | None = None
    segments: torch.Tensor | None = None


@dataclass(frozen=True)
class View:
    """What the network is shown of a corrupted batch; S columns, of which the first T predict the T positions.

    Attributes:
        tokens: (B, S) int64, or a state on the simplex.
        t: (B, S) float64.
        layout: Which columns see which.
    """

    tokens: Tokens
    t: torch.Tensor
    layout: Layout

    def columns(self, rows: torch.Tensor, length: int) -> torch.Tensor:
        """Return the flat indices into B·S of flat indices into B·T, T = ``length``."""
        width = self.t.shape[1]
        return rows if width == length else rows // length * width + rows % length


class Process(ABC):
    """A noising process over (B, T) token ids.

    Class attributes:
        Params: The parameter class; its ``name`` is the registry name.
        bound: Whether the likelihood bound equals the entropy at the optimal head ("tight"), is valid but larger
            ("loose"), or does not exist ("none").
        bound_form: The bound of a position is ``weight`` times its cross-entropy ("ce"), or times the divergence of
            two marginals, which needs the head's whole distribution ("dense").
        state: Whether a noisy state is token ids or a point of the simplex.
        random: Whether a corrupted state depends on its time and on random numbers. Where it does not, one evaluation
            gives the bound exactly.
        counts: Whether an evaluator may fix the number of noised tokens first (``corrupt_level``).
        has_evidence: Whether q_t(z | x) is known, so that a posterior and a leave-one-out head convert into each other.
        network_head: What a network predicts where its objective does not say; None = what minimises the objective.
        objective, sampler: Registry names of what a configuration uses where it names none.
        objective_defaults: Keys of that objective, where a configuration does not set them.
        time_conditioning: Whether a network is told t where a configuration does not say. Where noise is not visible as
            such, t says how much of what stands there to trust; masks show it by their number.
    """

    Params: ClassVar[type[Strict]]
    bound: ClassVar[Bound]
    bound_form: ClassVar[BoundForm] = "dense"
    state: ClassVar[State]
    random: ClassVar[bool] = True
    counts: ClassVar[bool] = False
    has_evidence: ClassVar[bool] = True
    network_head: ClassVar[Head | None] = None
    objective: ClassVar[str]
    objective_defaults: ClassVar[Mapping[str, Any]] = {}
    sampler: ClassVar[str]
    time_conditioning: ClassVar[bool] = True

    def __init__(self, params: Any, vocabulary: Vocabulary) -> None:
        self.params = params
        self.vocabulary = vocabulary

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """The schedule κ(t)."""

    @abstractmethod
    def corrupt(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        """Draw x_t ~ q_t(· | x_1) at the editable positions.

        Args:
            x_1: (B, T) int64 clean tokens.
            t: (B, T) float64 times, constant over each group.
            editable: (B, T) bool; other positions stay clean.
            groups: (B, T) int64, which positions share a time (``time_groups``), 0 = padding.
            draws: Random numbers keyed by document, window and position.
            measure: What the times are uniform in: t itself, the level of ``time_of_level``, or κ. It sets the scale of
                ``weight``.
        """

    def corrupt_level(
        self,
        x_1: torch.Tensor,
        level: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        choice: Choice,
    ) -> Corrupted:
        """Draw a noisy state for an evaluator, whose levels are uniform in (0, 1).

        Weight times importance makes the loss an unbiased estimate of the bound, for either choice.

        Args:
            x_1, editable, groups, draws: See ``corrupt``.
            level: (B, T) float64 in [0, 1), constant over each group.
            choice: ``bernoulli``: each token is noised alone, at the time of the level. ``exact_count``: the level
                says how many of a group's tokens are noised, and the time follows; of a process that ``counts``.
        """
        del choice
        return self.corrupt(x_1, self.time_of_level(level), editable, groups, draws, measure="level")

    @abstractmethod
    def source(self, x: torch.Tensor, editable: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return the state at t = 0: source noise at the editable positions, ``x`` elsewhere. (B, T) int64.

        The noise does not depend on the values of ``x`` at the editable positions.
        """

    def time_of_level(self, level: torch.Tensor) -> torch.Tensor:
        """Return the time of an evaluator's noise level, float64 in [0, 1); levels are uniform in (0, 1).

        κ⁻¹ unless overridden: the bound's value then does not depend on the schedule by construction.
        """
        return self.schedule.inverse(level)

    def level_rate(self, t: torch.Tensor) -> torch.Tensor:
        """Return d level/dt at times, float64; κ̇ unless ``time_of_level`` is overridden."""
        return self.schedule.dkappa(t)

    def blocks(self, positions: torch.Tensor) -> torch.Tensor | None:
        """Return (B, T) int64, the block of each position in its document window; None = a window is one block."""
        del positions
        return None

    def view(self, corrupted: Corrupted, x_1: torch.Tensor, segments: torch.Tensor, positions: torch.Tensor) -> View:
        """Return what the network is shown: the noisy state alone, unless overridden.

        Args:
            corrupted: The noisy state.
            x_1: (B, T) int64 clean tokens; only a process whose network may see them (causally) uses them.
            segments, positions: (B, T) int64.
        """
        del x_1
        return View(corrupted.x_t, corrupted.t, Layout(segments=segments, positions=positions))

    def evidence(self, z: Tokens, t: torch.Tensor) -> torch.Tensor | None:
        """Return q_t(z_i | x_i = k) up to a factor that does not depend on k, (B, T, K) float64; None = not known.

        What the exact oracles (``flowlm selftest``) need of a process whose noise acts on each position alone; K is
        small there. A state on the simplex knows its own (``Embeddable.evidence``).
        """
        del z, t
        return None

    def canvas_view(self, z: Tokens, t: torch.Tensor, layout: Layout) -> View:
        """Return what the network is shown of canvases in sampling; its T columns predict the T positions.

        Args:
            z: (B, T) int64 canvases, or states on the simplex.
            t: (B, T) float64 times.
            layout: Segments and positions of the canvases; positions None = 0 … T − 1.
        """
        return View(z, t, layout)

    def settled(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor | None:
        """Return (B, T) bool, the columns of ``canvas_view`` whose states nothing can change any more.

        Their keys and values may be kept. None, the default: every state depends on the whole canvas, and there is
        nothing to keep. A process that answers has a view in which columns see only their own and earlier ones.
        """
        del z, t
        return None

    @abstractmethod
    def is_noise(self, z: torch.Tensor) -> torch.Tensor:
        """Return (B, T) bool: positions of ``z`` that are certainly noise (m, for an absorbing process)."""
