"""Training weights: each rule against its formula, refusals, and that only the bound's own weights are reported."""

import math

import pytest
import torch

from diffusionlm.errors import PairingError
from diffusionlm.objective import NELBO
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.nelbo import NELBOParams
from diffusionlm.process import PROCESSES, DiscreteProcess, Noise, TimesParams, Vocabulary
from diffusionlm.process.base import Corrupted
from diffusionlm.process.mixture import MixtureParams
from tests.diffusionlm.model.networks import network
from tests.diffusionlm.process.batches import lay_rows, random_documents
from tests.oracle.joint import OracleModel, random_joint

K = 13
BATCH = lay_rows([[document] for document in random_documents([24] * 40, K)], 24)


def objective(name: str, rule: str = "none", times: TimesParams | None = None, **process) -> NELBO:
    built = PROCESSES.build(PROCESSES[name].Params.model_validate(process), Vocabulary.after(K))
    params = {"weighting": {"rule": rule, "limit": 1.5}, "times": times or TimesParams()}
    return NELBO(NELBOParams.model_validate(params), built)


def corrupted_and_weight(made: NELBO) -> tuple[Corrupted, torch.Tensor]:
    """Return a batch and the (B, T) weight of each position."""
    part = prepare(made, BATCH, 0, 0, torch.arange(40), 40)
    (one,) = part.passes
    weight = torch.zeros(BATCH.x_1.numel(), dtype=torch.float64)
    weight[one.rows.index[: one.scored]] = one.weight[: one.scored]
    return part.corrupted, weight.view_as(BATCH.x_1)


@pytest.mark.parametrize("name", ["mask", "uniform", "mixture"])
def test_clipped(name):
    corrupted, weight = corrupted_and_weight(objective(name, "clipped"))
    assert torch.equal(weight, corrupted.weight.clamp(max=1.5))
    assert float(weight.max()) == 1.5 < float(corrupted.weight.max())
    assert torch.equal(corrupted_and_weight(objective(name))[1], corrupted.weight)


@pytest.mark.parametrize("name", ["uniform", "mixture"])
def test_dynamic(name):
    corrupted, weight = corrupted_and_weight(objective(name, "dynamic"))
    z, noise = corrupted.x_t, corrupted.noise
    assert isinstance(z, torch.Tensor)
    assert noise is not None
    masked, right = z == K, z == BATCH.x_1
    assert bool((weight[masked] == 2).all())
    assert bool((weight[~masked & ~right] == 1).all())
    assert torch.allclose(weight[right], (noise.uniform / K / noise.kappa)[right])
    assert 0 < int(right.sum()) < right.numel()


def gidd(t: torch.Tensor, p_uniform: float) -> tuple[Noise, float]:
    """Return GIDD's ν at time t with γ = 1, and its B. https://arxiv.org/abs/2503.04482"""
    s, b = 1 - t, 2 * p_uniform / (1 - p_uniform)
    c = b * (s * (1 - s)).sqrt()
    zero = torch.zeros_like(t)
    return Noise((1 - s) / (1 + c), zero, s / (1 + c), zero, c / (1 + c), zero, K), b


@pytest.mark.parametrize("t", [0.05, 0.5, 0.9])
def test_dynamic_is_the_papers_formula_for_gidds_noise(t):
    """(B/N)·e^{−λ/2} with λ the log of signal over noise, (1 − s)/s at noise time s."""
    noise, b = gidd(torch.tensor(t, dtype=torch.float64), 0.2)
    expected = b / K * math.exp(-math.log(t / (1 - t)) / 2)
    assert float(noise.uniform / (noise.size * noise.kappa)) == pytest.approx(expected)
    # To first order it is the ratio of the bound's own weights of a right and a wrong token.
    wrong, right = noise.uniform / K, noise.kappa + noise.uniform / K
    assert float(wrong / right) == pytest.approx(expected / (1 + expected))


def test_dynamic_release():
    made = objective("mixture", "dynamic_release", mask_share=0.8)
    corrupted, weight = corrupted_and_weight(made)
    right = corrupted.x_t == BATCH.x_1
    expected = 0.25 / (K + 1) * torch.exp(torch.sigmoid(corrupted.t - 1) / 2)
    assert torch.allclose(weight[right], expected[right])
    noise, b = gidd(torch.tensor(0.5, dtype=torch.float64), 0.2)
    assert float(noise.uniform / noise.mask) == pytest.approx(b)


@pytest.mark.parametrize("rule", ["dynamic", "dynamic_release"])
def test_masks_alone_count_twice_their_divergence(rule):
    """The divergence of a masked token is κ times its cross-entropy."""
    corrupted, weight = corrupted_and_weight(objective("mask", rule))
    assert corrupted.noise is not None
    assert torch.allclose(weight, torch.where(corrupted.noised, 2 * corrupted.noise.kappa, 0.0))


def test_noise_without_masks_has_no_released_weights():
    with pytest.raises(PairingError, match="process 'uniform' has none; set it to \"dynamic\""):
        objective("uniform", "dynamic_release")
    kind = PROCESSES["mixture"]
    assert issubclass(kind, DiscreteProcess)
    NELBO.check_params(NELBOParams.model_validate({"weighting": {"rule": "dynamic_release"}}), MixtureParams())


def test_only_the_bounds_own_weights_are_reported():
    assert objective("mask").reports_bound
    assert objective("mask", times=TimesParams(law="importance", density=(1.0, 2.0))).reports_bound
    assert not objective("mask", times=TimesParams(t_range=(0.1, 1.0))).reports_bound
    assert not any(objective("mixture", rule).reports_bound for rule in ("clipped", "dynamic", "dynamic_release"))


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
def test_importance_sampled_times_leave_the_expected_loss_alone(corruption):
    joint = random_joint(3, 3, seed=0)
    counts = (joint.flat() * 2000).round().long()
    x = joint.sequences().repeat_interleave(counts, 0)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    batch = lay_rows([[(i, row)] for i, row in enumerate(x.tolist())], joint.length)
    process = PROCESSES.build(PROCESSES["mask"].Params.model_validate({"corruption": corruption}), Vocabulary.after(3))
    exact = float((counts.double() * -joint.flat().log()).sum() / counts.sum())
    times = TimesParams(law="importance", density=(1.0, 3.0, 0.4, 2.0))
    losses = []
    for step in range(10):
        part = prepare(NELBO(NELBOParams(times=times), process), batch, 0, step, torch.arange(len(x)), len(x))
        losses.append(float(loss_sum(OracleModel(joint), part).total / part.denominator) * joint.length)
    mean, spread = torch.tensor(losses).mean(), torch.tensor(losses).std() / len(losses) ** 0.5
    assert abs(float(mean) - exact) < 4 * float(spread)
    assert float(spread) < 0.03


def test_the_law_of_times_reaches_every_weight_and_the_count_of_a_mean():
    from diffusionlm.objective import CE
    from diffusionlm.objective.ce import CEParams

    process = PROCESSES.build(PROCESSES["mask"].Params(), Vocabulary.after(K))
    times = TimesParams(law="importance", density=(1.0, 3.0))
    part = prepare(CE(CEParams(times=times), process), BATCH, 0, 0, torch.arange(40), 40)
    (one,) = part.passes
    assert torch.allclose(one.weight, torch.where(one.rows.t < 0.5, 2.0, 2 / 3).double())
    assert float(part.denominator) == pytest.approx(float(one.weight.sum()))
    model = network()
    assert torch.isfinite(loss_sum(model, part).total)
