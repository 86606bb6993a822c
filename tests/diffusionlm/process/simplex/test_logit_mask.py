"""The logit flow from the mask: its path by definition, the mask's entry apart from the race of the tokens."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.process import PROCESSES, Vocabulary
from tests.diffusionlm.process.simplex.points import build, levels, log_race_density, points

V = 5
TOKENS = torch.arange(30) % V


def exponentials() -> torch.Tensor:
    """Return the V + 1 exponentials of every token: with no share for the mask the start is they."""
    return points(build("logit_mask", V, mask_share=0.0), 0.0, TOKENS)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_state_is_the_path_by_definition(share: float, t: float) -> None:
    """x_0 = a·δ_m + (1 − a)·Dirichlet(1) over V + 1 entries, then softmax((1 − τ)·ln x_0 + τ·L·δ_x)."""
    process = build("logit_mask", V, mask_share=share, input="state")
    start = exponentials()
    start = (1.0 - share) * start / start.sum(1, keepdim=True)
    start[:, -1] += share
    level = levels(process, t, 30)
    length = math.log(V / 0.01 - V + 1)
    tau = float(level[0] / (length + level[0]))
    clean = torch.nn.functional.one_hot(TOKENS, V + 1).double()
    expected = ((1.0 - tau) * start.log() + tau * length * clean).softmax(1)
    assert torch.allclose(process.weights(points(process, t, TOKENS), level), expected, atol=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_mask_entry_says_nothing_of_the_token(t: float) -> None:
    """The evidence is the race of the V tokens; the network sees it under the mask's share of x_t."""
    process, level = build("logit_mask", V, mask_share=0.7), levels(build("logit_mask", V), t, 30)
    race = points(process, t, TOKENS)
    expected = log_race_density(race[:, :V], level)
    found = process.evidence(race.clone(), level)
    assert found.shape == (30, V)
    assert torch.allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-9)
    weights = process.weights(race.clone(), level)
    shown = build("logit_mask", V, mask_share=0.7, input="state").weights(race.clone(), level)
    assert torch.allclose(weights[:, -1], shown[:, -1])
    assert torch.allclose(weights[:, :-1], expected.softmax(1) * (1.0 - weights[:, -1:]), atol=1e-10)
    assert torch.allclose(weights.sum(1), torch.ones(30, dtype=torch.float64))


def test_the_mask_row_may_stand_anywhere_after_the_tokens() -> None:
    table = torch.arange(20.0).view(10, 2)
    kind = PROCESSES["logit_mask"]
    for mask_id in (V, V + 3):
        process = PROCESSES.build(kind.Params(), Vocabulary(size=V, mask_id=mask_id, rows=10))
        rows = process.rows_of(table)  # type: ignore[attr-defined]
        assert torch.equal(rows[:V], table[:V])
        assert torch.equal(rows[V], table[mask_id])


def test_winners_are_refused() -> None:
    with pytest.raises(ValidationError, match=r'logit_mask has no embedding = "top_k"; leave process\.embedding unset'):
        build("logit_mask", V, embedding="top_k")
    with pytest.raises(ValidationError, match="mask_share"):
        build("logit_mask", V, mask_share=1.0)
