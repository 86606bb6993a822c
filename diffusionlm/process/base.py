"""What a noising process is: a law q_t(z | x) that runs from noise (t = 0) to data (t = 1).

Everything that trains, scores or samples asks a process the same few questions; what a process can answer (a tight
bound, states that are ids) is declared on its class, and wrong pairs are refused when a configuration loads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.schedules import Schedule
from diffusionlm.process.vocabulary import Vocabulary
from diffusionlm.rng import Draws

Bound = Literal["tight", "loose", "none"]
State = Literal["ids", "simplex"]
Measure = Literal["t", "kappa"]


@dataclass(frozen=True)
class Corrupted:
    """A batch of noisy states.

    Attributes:
        x_t: (B, T) int64, the noisy tokens.
        t: (B, T) float64, the time of each position's document.
        noised: (B, T) bool, positions that the process noised.
        editable: (B, T) bool, positions that it was allowed to noise.
        weight: (B, T) float64, the bound's weight at the noised positions, 0 elsewhere.
        noise_probability: (B, T) float64, the probability with which each editable position was noised.
    """

    x_t: torch.Tensor
    t: torch.Tensor
    noised: torch.Tensor
    editable: torch.Tensor
    weight: torch.Tensor
    noise_probability: torch.Tensor


class Process(ABC):
    """A noising process over (B, T) token ids.

    Class attributes:
        Params: The parameter class; its ``name`` is the registry name.
        bound: Whether the likelihood bound equals the entropy at the optimal head ("tight"), is valid but larger
            ("loose"), or does not exist ("none").
        state: Whether a noisy state is token ids or a point of the simplex.
    """

    Params: ClassVar[type[Strict]]
    bound: ClassVar[Bound]
    state: ClassVar[State]

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
        segments: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        """Draw x_t ~ q_t(· | x_1) at the editable positions.

        Args:
            x_1: (B, T) int64 clean tokens.
            t: (B, T) float64 times, constant over each document.
            editable: (B, T) bool; other positions stay clean.
            segments: (B, T) int64 document segments, 0 = padding.
            draws: Random numbers keyed by document, window and position.
            measure: What the times are uniform in: t itself, or κ(t) (which makes the bound's value independent of the
                schedule by construction). It sets the scale of ``weight``.
        """

    @abstractmethod
    def source(self, x: torch.Tensor, editable: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return the state at t = 0: source noise at the editable positions, ``x`` elsewhere. (B, T) int64.

        The noise does not depend on the values of ``x`` at the editable positions.
        """

    @abstractmethod
    def is_noise(self, z: torch.Tensor) -> torch.Tensor:
        """Return (B, T) bool: positions of ``z`` that are certainly noise (m, for an absorbing process)."""
