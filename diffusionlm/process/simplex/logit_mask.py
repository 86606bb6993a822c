"""The logit flow from a source that is mostly the mask token.

    x_0 = a·δ_m + (1 − a)·Dirichlet(1) over V + 1 entries

and from there the path of ``logit``. The coordinates are r of the V + 1 entries; the V data ones, renormalised, are the
race of ``logit``, and evidence and flow are those. The mask's entry is shown to the network as its share of x_t: with
``input = "posterior"`` the mixture is x_m·W_m + (1 − x_m)·Σ_j p_j W_j. KL-Flow, https://arxiv.org/abs/2411.16821.
docs/MATH.md §3.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from diffusionlm.lazy import torch
from diffusionlm.process.simplex.logit import LogitProcess, RaceParams


class LogitMaskParams(RaceParams):
    """The logit flow that starts from the mask token and some noise."""

    name: Literal["logit_mask"] = "logit_mask"
    mask_share: float = Field(default=0.9, ge=0.0, lt=1.0)
    """a, the share of the mask token in x_0."""

    @model_validator(mode="after")
    def _exact(self) -> Self:
        if self.embedding != "exact":
            raise ValueError('logit_mask has no embedding = "top_k"; leave process.embedding unset')
        return self


class LogitMaskProcess(LogitProcess):
    """A race with a mask entry. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = LogitMaskParams
    params: LogitMaskParams

    @property
    def entries(self) -> int:
        return self.vocabulary.size + 1

    def rows_of(self, table: torch.Tensor) -> torch.Tensor:
        size, mask = self.vocabulary.size, self.vocabulary.mask_id
        return table[: size + 1] if mask == size else torch.cat((table[:size], table[mask : mask + 1]))

    def noisy(self, exponentials: torch.Tensor, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        # (1 − a)·d_m + a in the unit in which the others are E_j: E_m + a/(1 − a)·ΣE.
        share = self.params.mask_share
        exponentials[:, -1] += share / (1.0 - share) * exponentials.sum(1)
        return super().noisy(exponentials, x, level)

    def weights(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        if self.params.input == "state":
            return super().weights(coordinates, level)
        remaining = (self.clock.gain / (self.clock.gain + level)).to(coordinates.dtype)
        powers = coordinates.pow(remaining[:, None])
        mask = powers[:, -1:] / powers.sum(1, keepdim=True)
        posterior = super().weights(coordinates, level)
        return torch.cat((posterior * (1.0 - mask), mask), 1)

    def evidence(self, coordinates: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return super().evidence(coordinates[:, :-1], level)
