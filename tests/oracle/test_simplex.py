"""Flows on the simplex against exact laws: marginals, accuracy, and the law of finished samples at V = 8."""

from __future__ import annotations

import math

import pytest
import torch

from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import Sampled, sample
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.process.base import Embeddable
from diffusionlm.process.simplex.base import SimplexProcess
from diffusionlm.process.simplex.beta_velocity import gamma_quantile, log_velocity_table, velocity
from diffusionlm.process.simplex.clock import accuracy, max_t_of
from diffusionlm.process.simplex.logit import LogitParams, LogitProcess
from diffusionlm.rng import Draws, entry_uniforms
from diffusionlm.sampling import SAMPLERS, Filters
from tests.diffusionlm.process.simplex.points import SIMPLEX, build

V, MANY = 8, 20_000
PRIOR = torch.softmax(1.2 * torch.randn(V, generator=torch.Generator().manual_seed(1), dtype=torch.float64), 0)


class ExactHead:
    """The exact posterior of independent positions with law ``PRIOR``."""

    kind = "posterior"

    def predict(self, z: Embeddable, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return PRIOR.log() + z.evidence(rows, torch.float64)


class PriorHead:
    """The exact leave-one-out predictive of the same."""

    kind = "leave_one_out"

    def predict(self, z: Embeddable, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return PRIOR.log().expand(len(rows), -1)


def run(process: str, sampler: str, steps: int, head: object = None, many: int = MANY, **filters: object) -> Sampled:
    rule = SAMPLERS[sampler](SAMPLERS[sampler].Params(), build(process), Filters.model_validate(filters))
    canvas = lay_out([Template((Hole(1),))] * many, range(many))
    return sample(head or ExactHead(), rule, canvas, steps=steps, seed=0)  # type: ignore[arg-type]


def kl(result: Sampled) -> float:
    """Return KL(prior ‖ samples); sampling noise alone gives (V − 1)/(2N), 1.8e-4 here."""
    q = torch.bincount(result.ids[:, 0], minlength=V).double() / len(result.ids)
    return float((PRIOR * (PRIOR / q).log()).sum())


def points(process: SimplexProcess, t: float, token: int, many: int = MANY) -> torch.Tensor:
    """Return (many, C) float64 coordinates of one token at one time."""
    site = torch.arange(many)[:, None]
    draws = Draws(0, 0, site, torch.zeros_like(site), torch.zeros_like(site))
    x = torch.full_like(site, token)
    state = process.state_of(x, torch.full(site.shape, t, dtype=torch.float64), site >= 0, draws, "test")
    return process.dense(state, torch.float64)[:, 0]


@pytest.mark.parametrize(
    ("process", "sampler", "steps"),
    [
        ("logit", "basic", 16),
        ("logit", "sampling", 8),
        ("logit", "hybrid", 16),
        pytest.param("logit_mask", "basic", 16, marks=pytest.mark.slow),
        pytest.param("logit_mask", "sampling", 8, marks=pytest.mark.slow),
        pytest.param("sphere", "basic", 48, marks=pytest.mark.slow),
        ("sphere", "sampling", 8),
        ("dirichlet", "basic", 12),
        ("dirichlet", "sampling", 3),
        ("one_shot", "one_shot", 8),
    ],
)
def test_samples_have_the_prior(process: str, sampler: str, steps: int) -> None:
    result = run(process, sampler, steps)
    assert kl(result) < 2e-3
    assert int(result.nfe[0]) == (1 if process == "one_shot" else steps)


def test_evidence_in_the_head_gives_the_same_samples() -> None:
    """logit_updated: a network that knows only the context, and Bayes' rule in the sampler."""
    posterior, prior = run("logit", "sampling", 4, many=500), run("logit_updated", "sampling", 4, PriorHead(), many=500)
    assert torch.equal(posterior.ids, prior.ids)


def test_a_sampler_that_took_the_likeliest_token_would_be_caught() -> None:
    assert kl(run("logit", "sampling", 8, temperature=0.0)) > 0.01


@pytest.mark.parametrize("t", [0.0, 0.3, 0.7, 1.0])
def test_accuracy_of_the_race(t: float) -> None:
    """Γ(1 + 1/s)Γ(V)/Γ(V + 1/s) is how often the clean entry leads."""
    process = build("logit")
    assert isinstance(process, LogitProcess)
    log_s = process.clock.log_s(torch.tensor([t], dtype=torch.float64))
    expected = float(accuracy(log_s, V))
    leads = float((points(process, t, 3).argmax(1) == 3).double().mean())
    assert leads == pytest.approx(expected, abs=4.5 * math.sqrt(0.25 / MANY))
    # The clock is even in it.
    assert expected == pytest.approx(1 / V + t * (0.99 - 1 / V), abs=1e-5)


def test_the_end_of_the_clock_follows_from_the_vocabulary() -> None:
    """max_t is not the constant 0.3: that belongs to GPT-2's vocabulary. Values of the reference's table."""
    for size, wanted, expected in ((50259, 0.985, 0.300), (50259, 0.9, 0.233), (256, 0.99, 0.387), (27, 0.99, 0.430)):
        assert max_t_of(size, 0.01, wanted) == pytest.approx(expected, abs=1.5e-3)
    with pytest.warns(
        UserWarning, match=r"max_t = 0\.3 .* vocabulary of 27 and beta = 0\.01 the value for 0\.99 is 0\.4298"
    ):
        build("logit", 27, max_t=0.3)


def test_marginals_of_the_race() -> None:
    """r_i ~ s·Exp(1), the others Exp(1); logit_mask's start has at least its share on the mask."""
    process = build("logit")
    r, s = points(process, 0.5, 2), float(process.level(torch.tensor([0.5], dtype=torch.float64)).exp())
    expected = torch.ones(V, dtype=torch.float64)
    expected[2] = s
    assert torch.allclose(r.mean(0) / expected, torch.ones(V, dtype=torch.float64), atol=5 / math.sqrt(MANY))
    assert torch.allclose((r**2).mean(0) / expected**2 / 2, torch.ones(V, dtype=torch.float64), atol=0.1)
    masked = points(build("logit_mask", mask_share=0.8), 0.0, 2)
    share = masked / masked.sum(1, keepdim=True)
    assert float(share[:, -1].min()) >= 0.8
    assert float(share[:, -1].mean()) == pytest.approx(0.8 + 0.2 / (V + 1), abs=1e-3)


def test_marginals_of_the_dirichlet_flow() -> None:
    process = build("dirichlet")
    x, alpha = points(process, 0.6, 1), float(process.level(torch.tensor(0.6)))
    total = alpha + V - 1
    assert float(x[:, 1].mean()) == pytest.approx(alpha / total, abs=5e-3)
    assert float(x[:, 1].var()) == pytest.approx(alpha * (total - alpha) / total**2 / (total + 1), rel=0.05)
    assert float(x[:, 4].mean()) == pytest.approx(1 / total, abs=3e-3)


def test_the_sphere_follows_its_equation() -> None:
    """⟨q, q_1⟩ = tanh(τ + artanh ρ), |q| = 1, and the state is the solution of dq/dτ = q_1 − q⟨q, q_1⟩."""
    process, t = build("sphere"), 0.7
    q_0, q = points(process, 0.0, 5, 200), points(process, t, 5, 200)
    tau = float(process.level(torch.tensor(t, dtype=torch.float64)))
    assert torch.allclose(q.norm(dim=1), torch.ones(200, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(q[:, 5], torch.tanh(tau + torch.atanh(q_0[:, 5])), atol=1e-9)
    one = torch.nn.functional.one_hot(torch.tensor(5), V).double()
    moved = q_0.clone()
    for _ in range(2000):
        moved = moved + tau / 2000 * (one - moved * moved[:, 5:6])
    assert torch.allclose(moved, q, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in SIMPLEX if name != "one_shot"])
def test_evidence_is_calibrated(name: str) -> None:
    """Among states for which the posterior gives token k a probability, that share are of token k."""
    process = build(name)
    states = torch.cat([points(process, 0.5, token, 4000) for token in range(V)])
    level = process.level(torch.full((len(states),), 0.5, dtype=torch.float64))
    posterior = process.evidence(states, level).softmax(1)
    clean = torch.arange(V).repeat_interleave(4000)
    hit = torch.nn.functional.one_hot(clean, V).double()
    for low in (0.0, 0.1, 0.3, 0.5, 0.8):
        chosen = (posterior >= low) & (posterior < low + 0.2)
        number = int(chosen.sum())
        if number > 500:
            assert float(hit[chosen].mean()) == pytest.approx(
                float(posterior[chosen].mean()), abs=4.5 * math.sqrt(0.25 / number) + 1e-3
            )


def test_the_velocity_of_a_beta_law() -> None:
    """d/dα of the law: E[x'] = ∂_α α/(α + V − 1), and the closed form at V = 2."""
    alpha = torch.tensor([3.0], dtype=torch.float64)
    x = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)[None]
    # V = 2: F = x^α, so v = −x ln x/α.
    exact = -x * x.log() / 3.0 / (1.0 - x)
    assert torch.allclose(velocity(x, alpha, 2), exact, rtol=2e-3)
    for size in (8, 257):
        u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
        own, rest = gamma_quantile(u, alpha.expand(4000)), gamma_quantile(u, torch.full_like(u, size - 1.0))
        shuffled = rest[torch.randperm(4000, generator=torch.Generator().manual_seed(0))]
        x = (own / (own + shuffled))[:, None]
        v = velocity(x, alpha.expand(4000), size) * (1.0 - x)
        assert float(v.mean()) == pytest.approx((size - 1) / (3.0 + size - 1) ** 2, rel=0.03)
    assert bool(log_velocity_table(alpha, 4096).isfinite().all())


def test_entry_uniforms() -> None:
    """Uniform, uncorrelated between entries and between sites, bounded away from 0 and 1."""
    site = torch.arange(4000)[:, None]
    keys = Draws(0, 0, site, torch.zeros_like(site), torch.zeros_like(site)).entry_keys("test").flatten(0, 1)
    u = entry_uniforms(keys, 64, torch.float64)
    assert float(u.min()) > 0.0
    assert float(u.max()) < 1.0
    counts = torch.histc(u, 50, 0.0, 1.0)
    assert float(((counts - u.numel() / 50) ** 2 / (u.numel() / 50)).sum()) < 100  # χ² of 49
    correlation = torch.corrcoef(u.t()) - torch.eye(64)
    assert float(correlation.abs().max()) < 5 / math.sqrt(4000)
    between = torch.corrcoef(u[:200]) - torch.eye(200)
    assert float(between.abs().max()) < 5.5 / math.sqrt(64)
    assert len(u.unique()) > u.numel() - 60  # 2^31 values: 15 repeats are expected
    assert float(entry_uniforms(keys, 64, torch.float32).max()) < 1.0


@pytest.mark.parametrize("t", [0.0, 0.3, 0.6, 0.9])
def test_the_top_k_race_embeds_as_the_exact_one(t: float) -> None:
    """Mean and spread of the embedding over the noise; the error is that of the rest's mean field."""
    size, many, width = 1000, 1500, 6
    table = torch.randn((size + 1, width), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for embedding in ("exact", "top_k"):
        process = build("logit", size, embedding=embedding, top_k=64)
        site = torch.arange(many)[:, None]
        draws = Draws(0, 0, site, torch.zeros_like(site), torch.zeros_like(site))
        x = torch.full_like(site, 7)
        times = torch.full(site.shape, t, dtype=torch.float64)
        state = process.corrupt(x, times, site >= 0, torch.ones_like(site), draws).x_t
        found.append(state.embed(table)[:, 0])  # type: ignore[union-attr]
    exact, fast = found
    noise = 5 / math.sqrt(many) * exact.std(0)
    assert bool(((exact.mean(0) - fast.mean(0)).abs() < 1.5 * noise + 2e-3).all())
    assert bool(((exact.std(0) - fast.std(0)).abs() < 0.12 * exact.std(0) + 0.01).all())


def test_logit_entropy_at_zero_is_logit() -> None:
    from diffusionlm.objective import OBJECTIVES

    process = PROCESSES.build(LogitParams(), Vocabulary.after(V))
    objective = OBJECTIVES["ce_entropy"](OBJECTIVES["ce_entropy"].Params(), process)
    assert objective.loss() is None
    assert PROCESSES["logit_entropy"].objective == "ce_entropy"
    assert PROCESSES["logit_entropy"].objective_defaults["entropy"] > 0.0


class PairHead:
    """The exact posterior of two dependent tokens. Implements ``Predictor``."""

    kind = "posterior"
    joint = torch.rand((V, V), generator=torch.Generator().manual_seed(3)).double() ** 3 + torch.eye(V)
    joint /= joint.sum()

    def predict(self, z: Embeddable, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        evidence = z.evidence(torch.arange(2 * z.shape[0]), torch.float64).view(-1, 2, V)
        law = (self.joint.log() + evidence[:, 0, :, None] + evidence[:, 1, None, :]).flatten(1).softmax(1)
        law = law.view(-1, V, V)
        return torch.stack((law.sum(2), law.sum(1)), 1).view(-1, V)[rows].log()


@pytest.mark.parametrize("process", ["logit", pytest.param("dirichlet", marks=pytest.mark.slow)])
def test_basic_tends_to_the_joint_of_two_positions(process: str) -> None:
    """Independent draws are 0.3 away in total variation; 10 000 samples of 64 pairs leave 0.02 of noise."""
    many, found = 10_000, []
    rule = SAMPLERS["basic"](SAMPLERS["basic"].Params(), build(process), Filters())
    for steps in (3, 48):
        canvas = lay_out([Template((Hole(2),))] * many, range(many))
        ids = sample(PairHead(), rule, canvas, steps=steps, seed=0).ids  # type: ignore[arg-type]
        law = torch.bincount(ids[:, 0] * V + ids[:, 1], minlength=V * V).double().view(V, V) / many
        found.append(float((law - PairHead.joint).abs().sum() / 2))
    assert found[1] < 0.035
    assert found[0] > 2 * found[1]
