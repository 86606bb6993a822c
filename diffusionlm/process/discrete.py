"""Processes whose states are token ids: all of them follow from κ and ν_t (``Noise``).

A position is noised with probability 1 − κ_t and then holds the mask token or a uniformly drawn data token, in
proportion to their masses. A uniform draw may hit the clean token again; ``noised`` says which positions were redrawn,
not which differ. docs/MATH.md §1.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.base import Choice, Corrupted, Measure, Process, State, Tokens
from diffusionlm.process.noise import Noise
from diffusionlm.process.selection import bernoulli, count_importance, document_counts, exact_count_and_share
from diffusionlm.rng import Draws

SMALLEST_SHARE = 1e-9
"""Of noise at an evaluator's levels: weights that divide by less would be all rounding."""


class DiscreteParams(Strict):
    """What every process over token ids has."""

    corruption: Choice = "bernoulli"
    """Training noises each token alone, or exactly n of a document's L tokens, n uniform (lower variance, same
    expectation)."""


class DiscreteProcess(Process):
    """A process over token ids with q_t(z | x) = κ_t·1[z = x] + ν_t(z); its ``Params`` are ``DiscreteParams``."""

    state: ClassVar[State] = "ids"
    counts: ClassVar[bool] = True
    objective: ClassVar[str] = "nelbo"
    sampler: ClassVar[str] = "plug_in"

    @abstractmethod
    def noise(self, t: torch.Tensor) -> Noise:
        """Return κ, ν and their derivatives at times of any shape, float64."""

    @property
    def has_mask(self) -> bool:
        """Whether the mask token is part of the noise, so that a network knows what it means."""
        return bool(self.noise(torch.full((1,), 0.5, dtype=torch.float64)).mask > 0.0)

    @property
    def has_uniform(self) -> bool:
        """Whether noise may look like text, so that a token may be wrong."""
        return bool(self.noise(torch.full((1,), 0.5, dtype=torch.float64)).uniform > 0.0)

    def corrupt(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        measure: Measure = "t",
    ) -> Corrupted:
        if self.counts_first and measure == "t":  # an evaluator chooses for itself
            return self._counted(x_1, 1.0 - t, editable, groups, draws)
        noise = self.noise(t)
        noised = bernoulli(1.0 - noise.kappa, editable, draws)
        return self._noised(x_1, t, editable, noised, noise, draws, measure)

    def corrupt_level(
        self,
        x_1: torch.Tensor,
        level: torch.Tensor,
        editable: torch.Tensor,
        groups: torch.Tensor,
        draws: Draws,
        choice: Choice,
    ) -> Corrupted:
        if choice == "bernoulli":
            return super().corrupt_level(x_1, level, editable, groups, draws, choice)
        return self._counted(x_1, 1.0 - level, editable, groups, draws)

    @property
    def counts_first(self) -> bool:
        """Whether training fixes the number of noised tokens first; its times are then uniform in κ, not in t."""
        return self.params.corruption == "exact_count"

    def count_first(
        self, u: torch.Tensor, editable: torch.Tensor, groups: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what is noised (B, T) bool, at which times, and what each position counts, float64.

        Args:
            u: (B, T) float64 in [0, 1], constant over a group: ⌊(L + 1)·u⌋ of its L editable tokens are noised.
            editable, groups, draws: See ``corrupt``.
        """
        noised, n, share = exact_count_and_share(u, editable, groups, draws)
        t = self.schedule.inverse(1.0 - share.clamp_min(SMALLEST_SHARE))
        # The share that the noise really has: t cannot say a small one to full precision, and the weight divides by it.
        return noised, t, count_importance(self.schedule.remaining(t), n, document_counts(editable, groups))

    def _counted(
        self, x_1: torch.Tensor, u: torch.Tensor, editable: torch.Tensor, groups: torch.Tensor, draws: Draws
    ) -> Corrupted:
        noised, t, importance = self.count_first(u, editable, groups, draws)
        made = self._noised(x_1, t, editable, noised, self.noise(t), draws, "kappa")
        return replace(made, importance=importance)

    def _noised(
        self,
        x_1: torch.Tensor,
        t: torch.Tensor,
        editable: torch.Tensor,
        noised: torch.Tensor,
        noise: Noise,
        draws: Draws,
        measure: Measure,
    ) -> Corrupted:
        """Return the state in which the ``noised`` positions hold draws from the noise."""
        x_t = torch.where(noised, self.draw_noise(noise, draws), x_1)
        weight = self.bound_weight(x_t, x_1, t, measure)
        return Corrupted(
            x_t=x_t,
            t=t,
            noised=noised,
            editable=editable,
            weight=torch.where(editable, weight, 0.0),
            noise_probability=1.0 - noise.kappa,
            noise=noise,
        )

    def bound_weight(self, z: torch.Tensor, x_1: torch.Tensor, t: torch.Tensor, measure: Measure) -> torch.Tensor:
        """Return ρ_t(z)/q_t(z | x), the weight of the tight bound at every position, float64."""
        noise = self.noise(t)
        weight = noise.rate(z, self.vocabulary) / noise.marginal(z, x_1, self.vocabulary)
        if measure == "t":
            return weight
        rate = self.level_rate(t) if measure == "level" else self.schedule.dkappa(t)
        # A level may stand still at t = 0, and the weight with it.
        return weight / rate.clamp_min(torch.finfo(torch.float64).tiny)

    def chosen_evidence(self) -> float:
        """Return ln(q(z | z, chosen)/q(z | x ≠ z, chosen)), what a data token says for itself if it was ``noised``.

        0: noise knows nothing of the text. A recipe that keeps some of the chosen tokens overrides it.
        """
        return 0.0

    def draw_noise(self, noise: Noise, draws: Draws) -> torch.Tensor:
        """Return int64 draws from ν_t/(1 − κ_t), of the shape of the times."""
        total = noise.mask + noise.uniform
        masked = draws.uniform("corrupt/kind") * total < noise.mask
        token = (draws.uniform("corrupt/token") * self.vocabulary.size).long()
        return torch.where(masked, self.vocabulary.mask_id, token)

    def source(self, x: torch.Tensor, editable: torch.Tensor, draws: Draws) -> torch.Tensor:
        start = self.noise(torch.zeros(x.shape, dtype=torch.float64, device=x.device))
        return torch.where(editable, self.draw_noise(start, draws), x)

    def evidence(self, z: Tokens, t: torch.Tensor) -> torch.Tensor | None:
        assert isinstance(z, torch.Tensor), "states of a discrete process are ids"
        noise, same = self.noise(t), z[..., None] == torch.arange(self.vocabulary.size, device=z.device)
        marginal = noise.at(z, self.vocabulary)[..., None] + torch.where(same, noise.kappa[..., None], 0.0)
        # A token where the noise has none and κ is still 0 can only be clean: the limit t → 0.
        return torch.where((marginal > 0).any(-1, keepdim=True), marginal, same.double())

    def is_noise(self, z: torch.Tensor) -> torch.Tensor:
        return z == self.vocabulary.mask_id
