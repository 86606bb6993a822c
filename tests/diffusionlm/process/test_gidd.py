"""GIDD's marginals and weights are the paper's closed forms, https://arxiv.org/abs/2503.04482."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.kernels.marginal_divergence import reference
from diffusionlm.objective.bound import divergence
from diffusionlm.objective.rows import Rows
from diffusionlm.process import GIDDProcess, Vocabulary
from diffusionlm.process.gidd import GIDDParams

K = 5
VOCABULARY = Vocabulary.after(K)
SETTINGS = [(0.1, 1.0), (0.2, 1.0), (0.5, 0.5), (0.9, 2.0)]


def build(p_u: float, gamma: float) -> GIDDProcess:
    return GIDDProcess(GIDDParams(p_u=p_u, gamma=gamma), VOCABULARY)


def closed(p_u: float, gamma: float, noise_time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the paper's c and dc/d(noise time)."""
    tau = noise_time
    c = 2**gamma * p_u / (1 - p_u) * tau ** (gamma / 2) * (1 - tau) ** (gamma / 2)
    return c, gamma / 2 * (1 - 2 * tau) / (tau * (1 - tau)) * c


@pytest.mark.parametrize(("p_u", "gamma"), SETTINGS)
def test_the_loss_is_the_closed_form_at_all_states(p_u: float, gamma: float) -> None:
    process = build(p_u, gamma)
    x, z = (a.flatten() for a in torch.meshgrid(torch.arange(K), torch.arange(K + 1), indexing="ij"))
    logits = torch.randn(len(x), K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for time in (0.01, 0.3, 0.5, 0.8, 0.99):
        t = torch.full(x.shape, time, dtype=torch.float64)
        tau = 1 - t
        c, dc = closed(p_u, gamma, tau)
        inner = c + (1 - tau) * dc
        wrong = inner / ((1 - tau) * c)
        right = inner / (K * (1 - tau) * (1 - tau + c / K))
        weight = torch.where(z == K, 1 / (tau * (1 - tau)), torch.where(z == x, right, wrong))
        assert torch.allclose(process.bound_weight(z, x, t, "t"), weight, rtol=1e-10)
        theirs = weight * reference(logits, x, z, (1 - tau) / (1 + c), c / (1 + c) / K)
        ours = process.bound_weight(z, x, t, "t") * divergence(logits, Rows(x, z, t, process.noise(t), x))
        assert float((ours - theirs).abs().max()) < 1e-6


@pytest.mark.parametrize(("p_u", "gamma"), SETTINGS)
def test_the_noise_and_its_derivatives(p_u: float, gamma: float) -> None:
    process = build(p_u, gamma)
    t = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    h = 1e-6
    noise, before, after = process.noise(t), process.noise(t - h), process.noise(t + h)
    assert torch.allclose(noise.kappa + noise.mask + noise.uniform, torch.ones_like(t), atol=1e-15)
    for name in ("kappa", "mask", "uniform"):
        slope = (vars(after)[name] - vars(before)[name]) / (2 * h)
        assert torch.allclose(vars(noise)["d" + name], slope, atol=1e-5, rtol=1e-6), name
    half = process.noise(torch.tensor(0.5, dtype=torch.float64))
    assert float(half.uniform) == pytest.approx(p_u)
    assert torch.allclose(process.schedule.kappa(t), noise.kappa, atol=1e-15)
    assert torch.allclose(process.schedule.dkappa(t), noise.dkappa, rtol=1e-12)
    assert torch.allclose(process.schedule.remaining(t), 1 - noise.kappa, atol=1e-15)
    assert torch.allclose(process.schedule.inverse(noise.kappa), t, atol=1e-12)
    level = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    rate = (process.time_of_level(level + h) - process.time_of_level(level - h)) / (2 * h)
    assert torch.allclose(1 / process.level_rate(process.time_of_level(level)), rate, rtol=1e-6)


def test_beyond_two_the_noising_process_would_run_backwards() -> None:
    with pytest.raises(ValidationError):
        GIDDParams(gamma=2.1)
    with pytest.raises(ValidationError):
        GIDDParams(p_u=0.0)
