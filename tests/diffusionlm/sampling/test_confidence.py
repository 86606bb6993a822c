"""Scores, counts and the choice of positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusionlm.process import SCHEDULES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.rng import Draws
from diffusionlm.sampling import Confidence, Filters, State
from diffusionlm.sampling import confidence as module
from diffusionlm.sampling.confidence import ConfidenceParams, Order, certainty, choose, even_ties

K = 5


def state(z: torch.Tensor, step: int, steps: int) -> State:
    batch = len(z)
    zeros = torch.zeros_like(z)
    position = torch.arange(z.shape[1]).expand_as(z)
    return State(
        z=z,
        open=torch.ones_like(z, dtype=torch.bool),
        t=torch.full((batch,), step / steps, dtype=torch.float64),
        step=torch.full((batch,), step),
        steps=torch.full((batch,), steps),
        draws=Draws(0, step, zeros, zeros, position),
    )


def sampler(order: Order = "max_prob", schedule: str = "linear") -> Confidence:
    process = MaskProcess(MaskParams(schedule=SCHEDULES[schedule].Params()), Vocabulary.after(K))
    return Confidence(ConfidenceParams(order=order), process, Filters())


def test_scores_of_known_distributions() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(certainty(p.log(), "max_prob").exp(), torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64))
    assert torch.allclose(certainty(p.log(), "margin"), torch.tensor([0.2, 0.85, 1.0], dtype=torch.float64))
    entropy = -torch.special.xlogy(p, p).sum(-1)
    assert torch.allclose(certainty(p.log(), "entropy"), -entropy)


def test_scores_do_not_depend_on_chunks_or_on_a_shift_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for order in ("max_prob", "margin", "entropy"):
        whole = certainty(logits, order)
        with monkeypatch.context() as patch:
            patch.setattr(module, "CHUNK_ENTRIES", 21)
            assert torch.equal(certainty(logits, order), whole)
        assert torch.allclose(certainty(logits + 100.0, order), whole, atol=1e-10)


def test_a_vocabulary_of_one_token_has_scores() -> None:
    assert certainty(torch.zeros(2, 1), "margin").tolist() == [1.0, 1.0]


@given(st.data())
def test_choose_takes_the_best_candidates(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 8))
    scores = data.draw(st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), min_size=width, max_size=width))
    ties = data.draw(st.permutations(range(width)))
    candidates = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    count = data.draw(st.integers(0, width + 1))
    ranked = sorted((i for i in range(width) if candidates[i]), key=lambda i: (-scores[i], ties[i]))
    chosen = choose(
        torch.tensor([scores], dtype=torch.float64),
        torch.tensor([ties], dtype=torch.float64),
        torch.tensor([candidates]),
        torch.tensor([count]),
    )
    assert chosen[0].nonzero().flatten().tolist() == sorted(ranked[:count])


def test_rounding_noise_does_not_order_equal_scores() -> None:
    scores = torch.tensor([-1.2345678901234567, -1.2345678901234512, -1.2344], dtype=torch.float64)
    even = even_ties(scores, torch.float64)
    assert even[0] == even[1] < even[2]
    single = even_ties(torch.tensor([-0.5, -0.500004], dtype=torch.float64), torch.float32)
    assert single[0] == single[1]


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("steps", [1, 2, 4, 7, 40])
def test_counts_follow_the_schedule_by_cumulative_rounding(schedule: str, steps: int) -> None:
    rule, length = sampler(schedule=schedule), 13
    z = torch.full((1, length), K)
    for step in range(steps):
        at = state(z, step, steps)
        count = int(rule.reveal_count(at, at.grid()))
        hidden = (z[0] == K).nonzero().flatten()[:count]
        z[0, hidden] = 0
        remaining = float(rule.process.schedule.remaining(at.grid()))
        assert abs(int((z == K).sum()) - length * remaining) <= 0.5 + 1e-9
    assert int((z == K).sum()) == 0


def test_only_the_random_order_needs_no_look_at_all_masks() -> None:
    z = torch.full((2, 6), K)
    at = state(z, 0, 3)
    assert int(sampler("max_prob").plan(at).sites.sum()) == 12
    assert sampler("random").plan(at).sites.sum(1).tolist() == [2, 2]


@pytest.mark.parametrize("order", ["max_prob", "margin", "entropy"])
def test_the_surest_position_is_revealed_first(order: Order) -> None:
    rule = sampler(order)
    at = state(torch.full((1, 4), K), 0, 4)
    logits = torch.zeros(4, K)
    logits[2, 3] = 4.0
    plan = rule.plan(at)
    moved = rule.step(at, plan, torch.arange(4), logits)
    assert (moved.z[0] != K).nonzero().flatten().tolist() == [2]
    confidence = moved.confidence[0]
    assert float(confidence[2]) == pytest.approx(float(logits.double().softmax(-1)[2, moved.z[0, 2]]))
    assert bool(confidence[[0, 1, 3]].isnan().all())
