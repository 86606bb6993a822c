"""Samplers of flows on the simplex: move the points along the flow, or guess the text and noise it anew.

Each step asks the network for p = p(x_1 | x_t) at every noisy position of the block. Then

- ``basic`` moves the point along the flow of p, exactly for a p that stays constant (the ODE);
- ``sampling`` draws a guess x̂_1 ~ p (a draw, not the most likely token, which would lower the entropy) and noises it
  with fresh noise to the next level;
- ``hybrid`` is basic up to a share t* of the clock and sampling after it.

The last of the N calls is at the end of the clock, and the tokens are drawn from its p. For one position with an exact
posterior every one of them has the data law; with more, ``basic`` has it as N → ∞ and the other two draw the positions
of a guess independently. The points, (B, T, V), are the sampler's memory; what the loop sees and a watcher reads are
the likeliest tokens. Positions of later blocks wait as pure noise. docs/MATH.md §4;
KL-Flow, https://arxiv.org/abs/2411.16821.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.simplex.base import FlowProcess, SimplexProcess
from diffusionlm.process.simplex.one_shot import OneShotProcess
from diffusionlm.sampling.base import Law, Plan, Sampler, State, Step, place
from diffusionlm.sampling.filters import CHUNK_ENTRIES, Filters, draw, filter_logits

RENOISE = "simplex/renoise"


class SimplexSampler(Sampler):
    """What the samplers of simplex flows share: N calls at t = 0 … 1, the memory, and the draw at the end."""

    requires = SimplexProcess
    heads = frozenset({"posterior"})
    monotone: ClassVar[bool] = False
    process: SimplexProcess

    def start(self, z: torch.Tensor, editable: torch.Tensor) -> dict[str, torch.Tensor]:
        del z
        return {"pending": editable}

    def plan(self, state: State) -> Plan:
        # Blocks that have not begun are pure noise, and the network is shown it as such.
        t = torch.where(state.open, state.t[:, None], 0.0)
        shown = self.process.shown(self.points(state), t, state.z, state.memory["pending"])
        calls = (state.steps - 1).clamp_min(1).double()
        return Plan(sites=state.open, u=((state.step + 1).double() / calls).clamp(max=1.0), shown=shown)

    def points(self, state: State) -> torch.Tensor:
        """Return (B, T, C), the coordinates of every position; pure noise before the first step."""
        if "points" in state.memory:
            return state.memory["points"]
        return self.process.start(state.draws)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        last = (state.step + 1 >= state.steps)[:, None] & state.open
        points = self.points(state)
        renoise = self.renoises(state, plan)
        token = torch.where((last | renoise[:, None]).flatten()[rows], drawn.token, logits.argmax(-1))
        confidence = logits.double().log_softmax(-1).gather(1, token[:, None]).squeeze(1).exp()
        z = place(state.z, rows, token)
        if bool((~last & state.open).any()):
            points = self.move(state, plan, rows, logits, points, z, renoise)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return Step(
            z=z,
            t=torch.where(state.step + 1 >= state.steps, 1.0, plan.u),
            confidence=place(unknown, rows, confidence),
            memory={"points": points, "pending": state.memory["pending"] & ~last},
        )

    def move(
        self,
        state: State,
        plan: Plan,
        rows: torch.Tensor,
        logits: torch.Tensor,
        points: torch.Tensor,
        guess: torch.Tensor,
        renoise: torch.Tensor,
    ) -> torch.Tensor:
        """Return the points after a step, (B, T, C): along the flow, or noised anew from the guess (B, T)."""
        length = state.z.shape[1]
        flat, again = points.flatten(0, 1).clone(), renoise[rows // length]
        level = self.process.level
        t, u = level(state.t)[rows // length], level(plan.u)[rows // length]
        fresh = self.process.state_of(guess, plan.u[:, None].expand_as(guess), state.open, state.draws, RENOISE)
        size = max(1, CHUNK_ENTRIES // self.process.entries)
        for part in range(0, len(rows), size):
            chunk = slice(part, part + size)
            site = rows[chunk]
            if bool(again[chunk].any()):
                moved = fresh.coordinates(site, flat.dtype)
            else:
                moved = self._flow(flat[site], logits[chunk], t[chunk], u[chunk])
            if bool(again[chunk].any()) and not bool(again[chunk].all()):
                kept = self._flow(flat[site], logits[chunk], t[chunk], u[chunk])
                moved = torch.where(again[chunk, None], moved, kept)
            flat[site] = moved
        return flat.view_as(points)

    def _flow(self, points: torch.Tensor, logits: torch.Tensor, t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return points (n, C) moved from levels t to u along the flow of the filtered distribution."""
        assert isinstance(self.process, FlowProcess), "only a flow moves"
        return self.process.advance(points, distribution(logits, self.filters), t, u)

    @abstractmethod
    def renoises(self, state: State, plan: Plan) -> torch.Tensor:
        """Return (B,) bool: rows that take a sampling step; the others take a basic one."""

    def finished(self, state: State) -> torch.Tensor:
        return state.step >= state.steps


def distribution(logits: torch.Tensor, filters: Filters) -> torch.Tensor:
    """Return (n, K) float64 the distribution that a token would be drawn from; one-hot at temperature 0."""
    if filters.temperature == 0.0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    return filter_logits(logits, filters).softmax(-1)


class BasicParams(Strict):
    """Follow the flow (an ODE), then draw the tokens at its end."""

    name: Literal["basic"] = "basic"


class Basic(SimplexSampler):
    """The deterministic flow. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = BasicParams
    requires = FlowProcess

    def renoises(self, state: State, plan: Plan) -> torch.Tensor:
        return torch.zeros_like(plan.u, dtype=torch.bool)


class SamplingParams(Strict):
    """Guess the text by a draw from p and noise it anew, less at every step."""

    name: Literal["sampling"] = "sampling"


class Sampling(SimplexSampler):
    """Denoise by a draw, noise again. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = SamplingParams
    requires = FlowProcess

    @property
    def law(self) -> Law:
        return "single"

    def renoises(self, state: State, plan: Plan) -> torch.Tensor:
        return torch.ones_like(plan.u, dtype=torch.bool)


class HybridParams(Strict):
    """Follow the flow up to a share of the clock, guess and noise anew after it."""

    name: Literal["hybrid"] = "hybrid"
    split: float = Field(default=0.9, ge=0.0, le=1.0)
    """t*, the share of the clock up to which steps are basic; 0 = sampling, 1 = basic."""


class Hybrid(SimplexSampler):
    """Basic first, sampling after. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = HybridParams
    requires = FlowProcess

    @property
    def law(self) -> Law:
        return "single"

    def renoises(self, state: State, plan: Plan) -> torch.Tensor:
        return state.t >= self.params.split


class OneShotParams(Strict):
    """Draw every token from one network call on pure noise."""

    name: Literal["one_shot"] = "one_shot"


class OneShot(SimplexSampler):
    """One draw of every position at once, whatever the number of steps. KL-Flow, https://arxiv.org/abs/2411.16821."""

    Params = OneShotParams
    requires = OneShotProcess
    own_pace = True

    @property
    def law(self) -> Law:
        return "single"

    def plan(self, state: State) -> Plan:
        nothing = torch.zeros_like(state.z, dtype=torch.float64)
        shown = self.process.state_of(
            torch.zeros_like(state.z), nothing, state.memory["pending"], state.draws, RENOISE, given=state.z
        )
        return Plan(sites=state.open, u=torch.ones_like(state.t), shown=shown)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        drawn = draw(logits, state.draws.uniform("sample/token").flatten()[rows], self.filters)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        confidence = place(unknown, rows, drawn.log_probability.exp())
        pending = {"pending": state.memory["pending"] & ~state.open}
        return Step(place(state.z, rows, drawn.token), plan.u, confidence, pending)

    def renoises(self, state: State, plan: Plan) -> torch.Tensor:
        return torch.zeros_like(plan.u, dtype=torch.bool)

    def finished(self, state: State) -> torch.Tensor:
        return state.step >= 1
