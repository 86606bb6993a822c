"""The exact reverse step of any discrete process, with the network's prediction plugged in for the clean token.

    p(z_u | z_t) ∝ q(z_t | z_u) · q_u(z_u | x̂)
    q(z_t | z_u) = (κ_t/κ_u)·1[z_t = z_u] + a(z_t),     a = ν_t − (κ_t/κ_u)·ν_u
    q_u(· | x̂)  = κ_u·x̂ + ν_u

Since a depends on z_t alone and q_u sums to one, the (K + 1)-vector need not be formed: the position

    stays      with probability S = r / (r + a(z_t)),     r = (κ_t/κ_u)·(κ_u·x̂(z_t) + ν_u(z_t)),
    else       is drawn afresh from q_u(· | x̂): x̂ with probability κ_u, noise otherwise.

The rule is exact when x̂ is the leave-one-out predictive p(x_i | z without z_i): its error is only that of moving all
positions at once, of order 1/N. S lies between its values at x̂(z_t) = 0 and 1, and what is drawn afresh is noise or
clean whatever the network says; a position is asked for only where the answer can matter, so that on the mask process
the rule is ancestral sampling, with the same calls. docs/MATH.md §4; Austin et al. 2021 (D3PM),
https://arxiv.org/abs/2107.03006; Schiff et al. 2024 (UDLM), https://arxiv.org/abs/2412.10193.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import DiscreteProcess, Head, MaskProcess
from diffusionlm.sampling.base import Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import Filters, draw
from diffusionlm.sampling.renoise import redraw


class PlugInParams(Strict):
    """The exact reverse step of any discrete noise, given the clean token; the data law as steps grow."""

    name: Literal["plug_in"] = "plug_in"


@dataclass(frozen=True)
class Reverse:
    """The law of one position's reverse step, but for x̂; float64 tensors of one shape.

    Attributes:
        ratio: κ_t/κ_u.
        into: a(z_t), the probability that noise added between u and t made the token that stands there.
        kappa: κ_u.
        nu: ν_u(z_t).
        v: The uniform number that decides between staying and a fresh draw.
    """

    ratio: torch.Tensor
    into: torch.Tensor
    kappa: torch.Tensor
    nu: torch.Tensor
    v: torch.Tensor

    def stays(self, p: torch.Tensor | float) -> torch.Tensor:
        """Return whether the token stays, bool, where x̂(z_t) is ``p``."""
        r = self.ratio * (self.kappa * p + self.nu)
        # Nothing can have been noised into this token: it is what it was. (Also the states that cannot occur, 0/0.)
        return (self.into <= 0.0) | (self.v * (r + self.into) < r)

    def rows(self, index: torch.Tensor) -> Reverse:
        """Return the law at some of the flattened positions."""
        return Reverse(*(value.flatten()[index] for value in vars(self).values()))


class PlugIn(Sampler):
    """Plug-in reverse step. D3PM, https://arxiv.org/abs/2107.03006; UDLM, https://arxiv.org/abs/2412.10193."""

    Params = PlugInParams
    requires = DiscreteProcess
    heads = frozenset[Head]({"leave_one_out"})
    process: DiscreteProcess

    def __init__(self, params: Any, process: DiscreteProcess, filters: Filters) -> None:
        super().__init__(params, process, filters)
        self.monotone = isinstance(process, MaskProcess)

    def plan(self, state: State) -> Plan:
        u = state.grid()
        reverse, clean, _ = self._decided(state, u)
        surely_stays = reverse.stays(0.0)
        surely_moves = ~reverse.stays((state.z < self.process.vocabulary.size).double())
        return Plan(sites=state.open & ~surely_stays & ~(surely_moves & ~clean), u=u)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        reverse, clean, noise = self._decided(state, plan.u)
        z = state.z.flatten()
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters, standing=z[rows])
        stays, clean_rows = reverse.rows(rows).stays(drawn.standing), clean.flatten()[rows]
        fresh = torch.where(clean_rows, drawn.token, noise.flatten()[rows])
        # Where the network was not asked, a position stays, or moves into noise that is known already.
        moved = torch.where(reverse.stays(0.0), state.z, noise)
        placed = torch.where(~stays & clean_rows, drawn.log_probability.exp(), torch.nan)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=place(moved, rows, torch.where(stays, z[rows], fresh)),
            t=plan.u,
            confidence=place(unknown, rows, placed),
        )

    def _decided(self, state: State, u: torch.Tensor) -> tuple[Reverse, torch.Tensor, torch.Tensor]:
        """Return the law of the step from ``state`` to ``u`` (B,), and what a fresh draw would be (``redraw``)."""
        z, vocabulary = state.z, self.process.vocabulary
        before = self.process.noise(state.t[:, None].expand(z.shape))
        after = self.process.noise(u[:, None].expand(z.shape))
        # κ_u may underflow to 0 on a steep schedule; nothing is clean at t < u either then.
        ratio = torch.where(after.kappa > 0.0, before.kappa / after.kappa, 0.0)
        nu = after.at(z, vocabulary)
        into = before.at(z, vocabulary) - ratio * nu
        reverse = Reverse(ratio, into, after.kappa, nu, state.draws.uniform("sample/stay"))
        return reverse, *redraw(after, vocabulary, state.draws)
