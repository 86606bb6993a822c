"""Ancestral sampling that takes some of its tokens back: visible ones are masked again and drawn anew.

    a visible token is masked again with probability σ,     0 ≤ σ ≤ σ_max = min(1, (1 − κ_u)/κ_t)
    a masked token reveals with probability [κ_u − (1 − σ)·κ_t] / (1 − κ_t)

The second is what keeps the marginal at κ_u; σ = 0 is ancestral sampling, draw for draw, and at u = 1 nothing is masked
again and everything revealed.

| variant | σ |
|---|---|
| ``cap`` | min(η, σ_max) |
| ``rescale`` | η·σ_max |
| ``conf`` | η·σ_max shared out over the visible tokens by softmax(−ψ), ψ the probability each had when it was drawn |
| ``loop`` | κ rises to κ_on by t_on, stays there until t_off with σ = min(η, σ_max), and then rises to 1 |

η belongs to a step by default, as in the paper, and the number of tokens that are masked again then grows with that of
the steps: self-correction, and no law. With ``eta_per = "run"`` σ is η/N of N steps and the samples have the data law
as N grows. ``conf`` does not compensate at the masked tokens, and never has it. Re-masking starts at ``switch``
(``loop`` has its own times). Only open positions are ever masked again: neither given tokens nor finished blocks.

Wang et al. 2025 (ReMDM), https://arxiv.org/abs/2503.00307. Re-masking pays with generation.top_p ≤ 0.9 and many more
steps than an ancestral run would take. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import MaskProcess
from diffusionlm.sampling.base import Law, Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import Filters, draw

Variant = Literal["cap", "rescale", "conf", "loop"]

ETA: dict[Variant, float] = {"cap": 0.008, "rescale": 0.04, "conf": 1.0, "loop": 0.02}
"""η where none is given; cap and loop as the paper's own runs have it."""


class ReMDMParams(Strict):
    """Ancestral sampling that masks visible tokens again and draws them anew."""

    name: Literal["remdm"] = "remdm"
    variant: Variant = "cap"
    """How σ, the probability of masking a visible token again, is set: cap, rescale, conf or loop."""
    eta: float | None = Field(default=None, ge=0.0)
    """η; unset = 0.008 for cap, 0.04 for rescale, 1 for conf, 0.02 for loop. 0 = ancestral."""
    eta_per: Literal["step", "run"] = "step"
    """η is that of each step (the paper's), or of the whole run: σ = η/steps, which keeps the law of the samples."""
    switch: float = Field(default=0.0, ge=0.0, lt=1.0)
    """No token is masked again before this t; not for loop."""
    t_on: float = Field(default=0.45, gt=0.0, lt=1.0)
    """loop: t at which revealing pauses and masking again begins."""
    t_off: float = Field(default=0.95, gt=0.0, lt=1.0)
    """loop: t at which masking again ends and revealing goes on."""
    kappa_on: float = Field(default=0.9, gt=0.0, lt=1.0)
    """loop: the share of clean tokens between t_on and t_off."""

    @model_validator(mode="after")
    def _check(self) -> ReMDMParams:
        if self.eta is not None and self.eta > 1.0 and self.eta_per == "step":
            raise ValueError(f"eta = {self.eta} of each step is more than a probability; use at most 1")
        if self.t_on > self.t_off:
            raise ValueError(f"t_on = {self.t_on} comes after t_off = {self.t_off}; t runs from noise, 0, to data, 1")
        return self

    @property
    def resolved_eta(self) -> float:
        """η, or the variant's own."""
        return ETA[self.variant] if self.eta is None else self.eta


class ReMDM(Sampler):
    """Re-masking sampler. Wang et al. 2025, https://arxiv.org/abs/2503.00307."""

    Params = ReMDMParams
    requires = MaskProcess
    params: ReMDMParams

    def __init__(self, params: Any, process: MaskProcess, filters: Filters) -> None:
        super().__init__(params, process, filters)
        self.monotone = params.resolved_eta == 0.0

    @property
    def law(self) -> Law:
        """The data law where re-masking is of order 1/N and compensated, or absent."""
        if self.params.resolved_eta == 0.0:
            return "joint"
        return "joint" if self.params.eta_per == "run" and self.params.variant != "conf" else "heuristic"

    def start(self, z: torch.Tensor, editable: torch.Tensor) -> dict[str, torch.Tensor]:
        del editable
        return {"psi": torch.zeros(z.shape, dtype=torch.float64, device=z.device)}

    def plan(self, state: State) -> Plan:
        u = state.grid()
        left_t, left_u = self.left(state.t)[:, None], self.left(u)[:, None]
        sigma = self.sigma(state, u)
        # Written as ancestral's formula plus what re-masking takes away, so that σ = 0 is ancestral to the bit.
        compensated = 0.0 if self.params.variant == "conf" else sigma * (1.0 - left_t) / left_t
        reveals = torch.where(u[:, None] >= 1.0, 1.0, 1.0 - left_u / left_t + compensated)
        sites = self.noise(state) & (state.draws.uniform("sample/reveal") <= reveals)
        # The network is told the time of the state's noise level, which pauses in loop.
        told = self.process.schedule.inverse(1.0 - left_t.squeeze(1)) if self.params.variant == "loop" else None
        return Plan(sites=sites, u=u, told=told)

    def left(self, t: torch.Tensor) -> torch.Tensor:
        """Return 1 − κ at times (B,) of the sampler's clock, float64; loop has a clock of its own."""
        remaining = self.process.schedule.remaining
        if self.params.variant != "loop":
            return remaining(t)
        on, off, kappa = self.params.t_on, self.params.t_off, self.params.kappa_on
        rising = 1.0 - kappa + kappa * remaining((t / on).clamp(max=1.0))
        return torch.where(t < off, rising, (1.0 - kappa) * remaining(((t - off) / (1.0 - off)).clamp(0.0, 1.0)))

    def sigma(self, state: State, u: torch.Tensor) -> torch.Tensor:
        """Return σ of each position for the step that ends at ``u`` (B,); (B, 1), or (B, T) for conf; float64."""
        how, t = self.params, state.t
        left_t, left_u = self.left(t), self.left(u)
        most = (left_u / (1.0 - left_t).clamp_min(torch.finfo(torch.float64).tiny)).clamp(max=1.0)
        eta = torch.full_like(t, how.resolved_eta)
        if how.eta_per == "run":
            eta = eta / state.steps.clamp_min(1)
        sigma = torch.minimum(eta, most) if how.variant in ("cap", "loop") else eta.clamp(max=1.0) * most
        on = (t >= how.t_on) & (u <= how.t_off) if how.variant == "loop" else t >= how.switch
        # Before the first token reveals there is nothing to take back.
        sigma = torch.where(on & (left_t < 1.0) & (u < 1.0), sigma, 0.0)[:, None]
        if how.variant == "conf":
            visible = state.open & ~self.process.is_noise(state.z)
            weight = torch.where(visible, torch.exp(-state.memory["psi"]), 0.0)
            sigma = sigma * weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        return sigma

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        visible = state.open & ~self.process.is_noise(state.z)
        again = visible & (state.draws.uniform("sample/remask") < self.sigma(state, plan.u))
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        probability = drawn.log_probability.exp()
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(torch.where(again, self.process.vocabulary.mask_id, state.z), rows, drawn.token),
            t=plan.u,
            confidence=place(unknown, rows, probability),
            memory={"psi": place(state.memory["psi"], rows, probability)},
        )
