"""Fill the masks, best first, and edit what stands there wherever the network clearly prefers another token.

In every step, of the block's open positions,

- *fill*: the masks of which the network is surest, so many that round(n_0·(1 − κ_u)) of the n_0 are left after it, with
  a clock u that ends at the share ``fill`` of the steps;
- *edit*: at most ``edits`` doubtful tokens (``editing.Opinion.doubtful``), by the order that is chosen. An edited
  position rests for ``cooldown`` steps and is edited at most ``max_edits`` times.

A row ends at a fixed point (no mask, no doubtful token, and the network was told the latest time already), when an
``argmax`` refinement comes back to a text that it has left, when ``patience`` runs out, or with its steps; no mask is
left in any case. An edit writes the most likely token (``argmax``), a drawn one (``sample``), or the mask token, which
the next step fills (``remask``); with the first two the number of masks never grows.

The rule reads the posterior p(x_i | z). Train it with the ``ce_all`` objective, or with the bound, on a process whose
noise includes wrong tokens (``mixture``, ``uniform``, GIDD): the network then knows what a wrong token looks like, and
that a right one is right. Under the pure ``mask`` process no token is ever wrong, so its network was taught nothing
about visible tokens: there the rule only fills, unless ``edits`` is set; it then takes the output as it is. Where the
process has uniform noise the posterior's trust in what stands there is that of the time which the network is told:
from noise the clock's, never later than ``latest_time``. An earlier ``latest_time`` edits more. A heuristic: the
samples' law is not the data law.

The any-position decoding of FlowLM with its faults mended (masks left behind, worst guesses first, a current token that
is never looked at), and the token-to-token editing of LLaDA2.1, https://arxiv.org/abs/2602.08676. docs/MATH.md §4.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from diffusionlm.errors import PairingError
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import DiscreteProcess, Process
from diffusionlm.process.head import Head
from diffusionlm.registry import params_name
from diffusionlm.sampling.base import Law, Plan, Sampler, State, Step, place
from diffusionlm.sampling.confidence import choose, even_ties
from diffusionlm.sampling.editing import EditOrder, Opinion, Replacement, fingerprint
from diffusionlm.sampling.filters import Filters, draw

Memory = dict[str, "torch.Tensor"]

COUNT = 2**31 - 1
"""The largest number of steps, edits or tokens: sums of two of them are still int64."""
EARLIEST = 1e-4
"""The earliest time that the network is told: at t = 0 itself a process may give a visible token no probability."""


class AnyPositionParams(Strict):
    """Fill masks best first and edit doubtful tokens anywhere, until nothing is doubtful."""

    name: Literal["any_position"] = "any_position"
    threshold: float = Field(default=0.7, gt=0.0, le=1.0)
    """τ: a token is doubtful only if the network gives it less probability than this."""
    margin: float = Field(default=1.0, ge=0.0)
    """δ, in nats: and only if the best token's log-probability is higher than its own by more than this."""
    edits: int | None = Field(default=None, ge=0, le=COUNT)
    """Edits per step at most; unset = twice the block's tokens over its steps, or none where noise is masks alone."""
    order: EditOrder = "gain"
    """Which doubtful tokens first: gain (ln best − ln current), low_confidence, random, left_to_right."""
    replacement: Replacement = "argmax"
    """What an edit writes: the most likely token, a drawn one, or the mask token, which the next step fills."""
    cooldown: int = Field(default=1, ge=0, le=COUNT)
    """Steps for which an edited position is left alone."""
    max_edits: int = Field(default=4, ge=1, le=COUNT)
    """Edits of one position at most."""
    fill: float = Field(default=0.75, gt=0.0, le=1.0)
    """Share of the steps in which the masks are filled; the steps after it only edit."""
    latest_time: float = Field(default=0.9, gt=0.0, lt=1.0)
    """The latest time that the network is told: how much noise it presumes in a finished text. Earlier edits more."""
    patience: int | None = Field(default=None, ge=1, le=COUNT)
    """Stop after so many steps in which the share of tokens that are the network's first choice did not rise."""


class AnyPosition(Sampler):
    """Filling and editing in one rule. FlowLM; LLaDA2.1, https://arxiv.org/abs/2602.08676."""

    Params = AnyPositionParams
    requires = DiscreteProcess
    heads = frozenset[Head]({"posterior"})
    monotone = False
    from_draft = True
    params: AnyPositionParams
    process: DiscreteProcess

    def __init__(self, params: Any, process: Process, filters: Filters) -> None:
        super().__init__(params, process, filters)
        if self.params.replacement == "remask" and not self.process.has_mask:
            raise PairingError(
                f"sampler 'any_position' cannot remask under process {params_name(type(process.params))!r}, whose "
                "noise has no mask token; use replacement argmax or sample"
            )

    @property
    def law(self) -> Law:
        return "heuristic"

    def check_draft(self) -> None:
        super().check_draft()
        if not self._edits:
            raise PairingError(
                f"sampler 'any_position' edits no draft under process {params_name(type(self.process.params))!r}, "
                "whose network knows nothing of wrong tokens; set its edits to a number to edit all the same"
            )

    @property
    def _edits(self) -> bool:
        """Whether tokens are edited at all."""
        return self.process.has_uniform if self.params.edits is None else self.params.edits > 0

    def wanted_head(self, kind: Head) -> Head:
        # Without uniform noise a visible token is certain and there is nothing to convert: see the module's docstring.
        return "posterior" if self.process.has_uniform else kind

    def plan(self, state: State) -> Plan:
        u = ((state.step + 1) / (state.steps * self.params.fill)).double().clamp(max=1.0)
        memory, masked = self._memory(state), self.noise(state)
        wanted = masked & (self._fill_count(state, memory, u) > 0)[:, None]
        if self._edits:
            wanted = wanted | (state.open & ~masked & (memory["edited"] < self.params.max_edits))
        told = torch.where(memory["late"], self.params.latest_time, state.t).clamp(EARLIEST, self.params.latest_time)
        return Plan(sites=wanted, u=u, told=told)

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        assert plan.told is not None, "the plan of this sampler tells the network a time"
        memory, masked = self._memory(state), self.noise(state)
        opinion = Opinion.of(logits, state.z.flatten()[rows])
        tiebreak = state.draws.uniform("sample/order")
        sure = _spread(state, rows, even_ties(opinion.log_best, logits.dtype))
        fill = choose(sure, tiebreak, masked & plan.sites, self._fill_count(state, memory, plan.u))

        doubtful = _spread(state, rows, opinion.doubtful(self.params.threshold, self.params.margin)) & ~masked
        scores = opinion.scores(self.params.order, rows % state.z.shape[1])
        scores = _spread(state, rows, even_ties(scores, logits.dtype))
        edit = choose(scores, tiebreak, doubtful & (memory["rest"] == 0), self._edit_count(state))

        z, confidence = self._write(state, rows, logits, opinion, fill, edit)
        agreed = _spread(state, rows, opinion.best == state.z.flatten()[rows]) & ~masked
        return Step(z, plan.u, confidence, self._remember(state, plan.told, memory, z, fill, edit, doubtful, agreed))

    def finished(self, state: State) -> torch.Tensor:
        done = state.memory["done"] | (state.step >= state.steps)
        return done & ~self.noise(state).any(1)

    def _memory(self, state: State) -> Memory:
        """Return the memory, begun anew in rows whose block begins.

        ``masks`` (B,), n_0; ``edited`` (B, T), edits so far; ``rest`` (B, T), steps to rest; ``late`` (B,), the network
        is told the latest time; ``seen`` (B, n), fingerprints of the late states; ``best`` and ``stale`` (B,), the
        highest self-accuracy and the steps since; ``done`` (B,).
        """
        begins, nothing = state.step == 0, torch.zeros_like(state.z)
        late = torch.zeros_like(begins)
        if state.draft is not None:
            late = ~(state.open & ~state.draft).any(1)
        fresh = {
            "masks": self.noise(state).sum(1),
            "edited": nothing,
            "rest": nothing,
            "late": late,
            "seen": torch.empty((len(begins), 0), dtype=torch.int64, device=begins.device),
            "best": torch.full_like(state.t, -1.0),
            "stale": torch.zeros_like(state.step),
            "done": torch.zeros_like(begins),
        }
        if not state.memory:
            return fresh
        fresh["seen"] = torch.full_like(state.memory["seen"], -1)
        return {
            name: torch.where(begins[:, None] if value.ndim == 2 else begins, value, state.memory[name])
            for name, value in fresh.items()
        }

    def _fill_count(self, state: State, memory: Memory, u: torch.Tensor) -> torch.Tensor:
        """Return (B,) int64: masks to fill in the step that ends at ``u`` (B,), by cumulative rounding."""
        left = (memory["masks"] * self.process.schedule.remaining(u) + 0.5).floor().long()
        left = torch.where((u >= 1.0) | (state.step + 1 >= state.steps), 0, left)
        return (self.noise(state).sum(1) - left).clamp_min(0)

    def _edit_count(self, state: State) -> torch.Tensor:
        """Return (B,) int64: edits allowed in this step."""
        steps = state.steps.clamp_min(1)
        if not self._edits:
            count = torch.zeros_like(steps)
        elif self.params.edits is None:
            count = (2 * state.open.sum(1) + steps - 1) // steps
        else:
            count = torch.full_like(steps, self.params.edits)
        if self.params.replacement == "remask":
            count = torch.where(state.step + 1 >= state.steps, 0, count)  # there is no step left to fill in
        return count

    def _write(
        self,
        state: State,
        rows: torch.Tensor,
        logits: torch.Tensor,
        opinion: Opinion,
        fill: torch.Tensor,
        edit: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new canvases (B, T) and the unfiltered probability of what was written (B, T), NaN elsewhere."""
        token, log_p = opinion.best.clone(), opinion.log_best.clone()
        drawn_at = fill if self.params.replacement != "sample" else fill | edit
        at = drawn_at.flatten()[rows].nonzero().squeeze(1)
        drawn = draw(logits[at], state.draws.uniform("sample/token").flatten()[rows[at]], self.filters)
        token[at], log_p[at] = drawn.token, drawn.log_probability
        if self.params.replacement == "remask":
            hidden = edit.flatten()[rows]
            token = torch.where(hidden, self.process.vocabulary.mask_id, token)
            log_p = torch.where(hidden, torch.nan, log_p)
        kept = (fill | edit).flatten()[rows].nonzero().squeeze(1)
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64, device=state.z.device)
        return place(state.z, rows[kept], token[kept]), place(unknown, rows[kept], log_p[kept].exp())

    def _remember(
        self,
        state: State,
        told: torch.Tensor,
        memory: Memory,
        z: torch.Tensor,
        fill: torch.Tensor,
        edit: torch.Tensor,
        doubtful: torch.Tensor,
        agreed: torch.Tensor,
    ) -> Memory:
        """Return the memory after a step, and in it whether a row is done."""
        late = told >= self.params.latest_time
        whole = ~(state.open & self.process.is_noise(z)).any(1)
        settled = whole & ~fill.any(1) & ~doubtful.any(1)
        accuracy = agreed.sum(1).double() / state.open.sum(1).clamp_min(1)
        stale = torch.where(accuracy > memory["best"], 0, memory["stale"] + 1)
        seen = torch.cat([memory["seen"], torch.where(late, fingerprint(state.z, state.open), -1)[:, None]], 1)
        done = settled & late
        if self.params.replacement == "argmax":
            # A drawn token or a refilled mask may come back by chance; there the cap of edits ends a circle.
            again = (fingerprint(z, state.open)[:, None] == seen).any(1)
            done = done | (late & whole & (z != state.z).any(1) & again)
        if self.params.patience is not None:
            done = done | (late & whole & (stale >= self.params.patience))
        return {
            "masks": memory["masks"],
            "edited": memory["edited"] + edit.long(),
            "rest": torch.where(edit, self.params.cooldown, (memory["rest"] - 1).clamp_min(0)),
            "late": memory["late"] | late | settled,
            "seen": seen,
            "best": torch.where(late, torch.maximum(memory["best"], accuracy), memory["best"]),
            "stale": torch.where(late, stale, 0),
            "done": done,
        }


def _spread(state: State, rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return (B, T) with ``values`` (N,) at the flat indices ``rows`` and zeros elsewhere."""
    return (
        torch.zeros(state.z.shape, dtype=values.dtype, device=values.device)
        .flatten()
        .index_copy(0, rows, values)
        .view_as(state.z)
    )
