"""Cross-entropy less an entropy term: value and gradient by hand, alone and through the engine."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.objective import CE, CEEntropy
from diffusionlm.objective.ce import CEParams
from diffusionlm.objective.ce_entropy import CEEntropyParams
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.rows import Rows
from diffusionlm.process import PROCESSES, Process
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents

BATCH = lay_rows([random_documents([9, 5], K), [(2, [1] * 12)]], 16)
ROWS = 20


def process(name: str = "mask", **values: object) -> Process:
    return PROCESSES.build(PROCESSES[name].Params.model_validate(values), VOCABULARY)


def rows() -> Rows:
    """Return rows over K tokens at times from 0 to 1."""
    x = torch.arange(ROWS) % K
    t = torch.linspace(0, 1, ROWS, dtype=torch.float64)
    return Rows(x, torch.full_like(x, K), t, None, torch.arange(ROWS))


def by_hand(logits: list[float], clean: int, strength: float) -> tuple[float, list[float]]:
    """Return −ln p_x − λH and its gradient p_j − 1[j = x] + λ·p_j(ln p_j + H), in plain floats."""
    top = max(logits)
    total = sum(math.exp(value - top) for value in logits)
    p = [math.exp(value - top) / total for value in logits]
    entropy = -sum(q * math.log(q) for q in p)
    value = -math.log(p[clean]) - strength * entropy
    return value, [q - (j == clean) + strength * q * (math.log(q) + entropy) for j, q in enumerate(p)]


@pytest.mark.parametrize("strength", [0.05, 0.4, 0.99])
def test_value_and_gradient_by_hand(strength: float) -> None:
    loss = CEEntropy(CEEntropyParams(entropy=strength), process()).loss()
    assert loss is not None
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, K, generator=generator, dtype=torch.float64).mul_(2.0).requires_grad_()
    given = rows()
    value = loss(logits, given)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    for row in range(ROWS):
        expected, gradient = by_hand(logits[row].tolist(), int(given.x[row]), strength * (1 - float(given.t[row])))
        assert float(value[row].detach()) == pytest.approx(expected, abs=1e-12)
        assert slope[row].tolist() == pytest.approx(gradient, abs=1e-12)
    # At t = 1 the term has faded, at t = 0 it is whole.
    plain = torch.nn.functional.cross_entropy(logits, given.x, reduction="none")
    assert torch.equal(value[-1], plain[-1])
    assert float(value[0].detach()) < float(plain[0].detach())


def test_it_is_least_at_a_flatter_prediction() -> None:
    """Two tokens, the first one clean in a share π of the rows: a zero of the derivative, closer to a half than π."""
    share, strength = 0.8, 0.3
    loss = CEEntropy(CEEntropyParams(entropy=strength), process()).loss()
    assert loss is not None
    x = torch.tensor([0, 1])
    start = torch.zeros(2, dtype=torch.float64)
    given = Rows(x, x, start, None, x)
    weight = torch.tensor([share, 1 - share], dtype=torch.float64)

    def cost(p: float) -> float:
        logits = torch.tensor([[p, 1 - p]] * 2, dtype=torch.float64).log()
        return float((weight * loss(logits, given)).sum())

    grid = [0.5 + 0.0005 * step for step in range(900)]
    best = min(grid, key=cost)
    # d/dp of −π ln p − (1 − π) ln(1 − p) + λ[p ln p + (1 − p) ln(1 − p)] is zero.
    assert -share / best + (1 - share) / (1 - best) + strength * math.log(best / (1 - best)) == pytest.approx(
        0.0, abs=0.02
    )
    assert best < share - 0.03


def test_without_a_term_it_is_plain_cross_entropy() -> None:
    assert CEEntropy(CEEntropyParams(), process()).loss() is None


@pytest.mark.parametrize("strength", [-0.1, 1.0, math.nan, math.inf])
def test_a_strength_that_rewards_only_entropy_is_refused(strength: float) -> None:
    with pytest.raises(ValidationError):
        CEEntropyParams(entropy=strength)


def test_extreme_logits_are_finite() -> None:
    loss = CEEntropy(CEEntropyParams(entropy=0.5), process()).loss()
    assert loss is not None
    for dtype in (torch.float32, torch.float64):
        logits = torch.full((ROWS, K), -1e4, dtype=dtype)
        logits[torch.arange(ROWS), torch.arange(ROWS) * 5 % K] = 1e4
        logits.requires_grad_()
        value = loss(logits, rows())
        assert value.dtype == dtype
        (slope,) = torch.autograd.grad(value.sum(), logits)
        assert bool(value.isfinite().all())
        assert bool(slope.isfinite().all())


@pytest.mark.parametrize("name", ["mask", "logit"])
def test_through_the_engine(name: str) -> None:
    """The loss of a step and its gradient in every weight, from dense logits and torch's own entropy of a law."""
    found = []
    for direct in (False, True):
        model = network()
        objective = CEEntropy(CEEntropyParams(entropy=0.3), process(name))
        part = prepare(objective, BATCH, 0, 1, torch.arange(2), 2)
        noised, t = part.corrupted.noised, part.corrupted.t
        if direct:
            logits = model.logits(model(part.corrupted.x_t, part.passes[0].view.t, part.passes[0].view.layout))[noised]
            law = torch.distributions.Categorical(logits=logits)
            each = -law.log_prob(BATCH.x_1[noised]) - 0.3 * (1 - t[noised]) * law.entropy()
            loss = each.mean()
        else:
            loss = loss_sum(model, part).total / part.denominator
        loss.backward()
        gradient = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((loss.detach(), torch.cat([grad.flatten() for grad in gradient])))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-12)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-11)


def test_of_kept_tokens_it_corrects_the_head_before_it_is_penalised() -> None:
    """With a keep share the cross-entropy is that of ``ce``, and the entropy is the network's own."""
    kept = process("keep")
    loss = CEEntropy(CEEntropyParams(entropy=0.2), kept).loss()
    plain = CE(CEParams(), kept).loss()
    assert loss is not None
    assert plain is not None
    logits = torch.randn(ROWS, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = rows()
    expected = plain(logits, given) - 0.2 * (1 - given.t) * torch.distributions.Categorical(logits=logits).entropy()
    assert torch.allclose(loss(logits, given), expected)
