"""One call on pure noise: whatever time and text it is given, the state is noise and says nothing."""

from __future__ import annotations

import torch

from tests.diffusionlm.process.simplex.points import build, levels, points, states

V = 5
TOKENS = torch.arange(30) % V


def test_the_state_is_noise_whatever_the_time_and_the_text() -> None:
    process = build("one_shot", V)
    start = points(process, 0.0, TOKENS)
    for t in (0.3, 1.0):
        assert torch.equal(points(process, t, (TOKENS + 1) % V), start)
    assert bool((states(process, 0.7, TOKENS).t == 0).all()), "the network is told t = 0"


def test_noise_is_the_race_at_its_start() -> None:
    assert torch.equal(points(build("one_shot", V), 0.5, TOKENS), points(build("logit", V), 0.0, TOKENS))


def test_a_noisy_position_embeds_the_mean_of_the_table() -> None:
    process = build("one_shot", V)
    table = torch.randn(V + 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    embedded = states(process, 0.7, TOKENS).embed(table)
    assert torch.allclose(embedded, table[:V].mean(0).expand(30, 1, 3))
    (slope,) = torch.autograd.grad(embedded.sum(), table)
    assert torch.allclose(slope[:V], torch.full((V, 3), 30 / V, dtype=torch.float64))
    assert bool((slope[V] == 0).all())


def test_its_evidence_is_none() -> None:
    process, level = build("one_shot", V), levels(build("one_shot", V), 0.9, 30)
    race = points(process, 0.9, TOKENS)
    assert bool((process.evidence(race, level) == 0).all())
    assert torch.allclose(process.weights(race, level), torch.full((30, V), 1 / V, dtype=torch.float64))
