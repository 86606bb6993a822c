"""The divergence of two marginals against its definition in float64, its gradient, and the published closed forms."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.kernels import marginal_divergence as module
from diffusionlm.kernels.marginal_divergence import marginal_divergence, reference


def rows_of(classes: int, count: int = 64, seed: int = 0, scale: float = 2.0) -> tuple[torch.Tensor, ...]:
    """Return logits, x, z (right, wrong and masked), in turns."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64) * scale
    x, other = (torch.randint(classes, (count,), generator=generator) for _ in range(2))
    kind = torch.arange(count) % 3
    return logits, x, torch.where(kind == 0, x, torch.where(kind == 1, other, classes))


def noise_of(kappa: float, classes: int, count: int, mask: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    full = torch.full((count,), kappa, dtype=torch.float64)
    return full, (1.0 - full) * (1.0 - mask) / classes


@pytest.mark.parametrize("classes", [2, 5, 300])
@pytest.mark.parametrize("kappa", [1e-3, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("mask", [0.0, 0.9])
def test_value_and_gradient_in_float64(classes: int, kappa: float, mask: float, monkeypatch) -> None:
    monkeypatch.setattr(module, "SLICE_ELEMENTS", 7 * classes)  # slices, and a last one that is shorter
    logits, x, z = rows_of(classes)
    given = noise_of(kappa, classes, len(x), mask)
    outward = torch.linspace(0.5, 2.0, len(x), dtype=torch.float64)
    found = []
    for function in (marginal_divergence, reference):
        leaf = logits.clone().requires_grad_()
        value = function(leaf, x, z, *given)
        (gradient,) = torch.autograd.grad((value * outward).sum(), leaf)
        found.append((value.detach(), gradient))
    # What the definition loses to cancellation grows with 1/κ.
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-13, rtol=1e-9 / kappa)


@pytest.mark.parametrize("classes", [5, 50_257])
@pytest.mark.parametrize("kappa", [0.0, 1e-20, 1e-9, 1e-6, 1e-4, 0.01, 0.5, 0.99, 1.0 - 1e-6, 1.0 - 1e-9])
def test_float32_keeps_its_precision_at_every_level(classes: int, kappa: float) -> None:
    """Error of weight × divergence, at the weight 1/κ/(1 − κ) of a wrong token, the largest there is."""
    logits, x, z = rows_of(classes, 12, scale=3.0)
    given = noise_of(kappa, classes, len(x))
    logits = logits.float().double()
    weight = 1.0 / max(kappa, 1e-30) / (1.0 - kappa)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = logits.to(dtype).requires_grad_()
        value = marginal_divergence(leaf, x, z, *given)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        assert bool(value.isfinite().all())
        assert bool(gradient.isfinite().all())
        assert float(value.detach().min()) >= -1e-6
        found.append((weight * value.detach().double(), weight * gradient.double()))
    (value, gradient), (exact, slope) = found
    assert float((value - exact).abs().max()) <= 2e-5 * max(1.0, float(exact.abs().max()))
    assert float((gradient - slope).abs().max()) <= 2e-5 * max(1.0, float(slope.abs().max()))


def test_it_is_zero_at_the_truth_alone() -> None:
    x = torch.arange(5)
    certain = torch.full((5, 5), -200.0, dtype=torch.float64).fill_diagonal_(0.0)
    for z in (x, (x + 1) % 5, torch.full((5,), 5)):
        given = noise_of(0.4, 5, 5)
        assert float(marginal_divergence(certain, x, z, *given).abs().max()) < 1e-14
        assert float(marginal_divergence(certain * 0, x, z, *given).min()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_uniform_noise_it_is_the_cross_entropy(dtype: torch.dtype) -> None:
    """The mask process: κ·CE at a masked position."""
    logits, x, _ = rows_of(9)
    kappa = torch.linspace(0.01, 0.99, len(x), dtype=torch.float64)
    ours = marginal_divergence(logits.to(dtype), x, torch.full_like(x, 9), kappa, torch.zeros_like(kappa))
    exact = kappa * torch.nn.functional.cross_entropy(logits, x, reduction="none")
    assert torch.allclose(ours.double(), exact, rtol=1e-12 if dtype == torch.float64 else 1e-5)


def test_the_closed_form_of_udlm() -> None:
    """Schiff et al. 2024, https://arxiv.org/abs/2412.10193 (eq. 16), all states of K = 5, κ = α, κ̇ = −α′ = 1."""
    classes = 5
    x, z = (a.flatten() for a in torch.meshgrid(torch.arange(classes), torch.arange(classes), indexing="ij"))
    for alpha in (0.05, 0.4, 0.97):
        for seed in range(4):
            logits = torch.randn(1, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            head = logits.softmax(-1).expand(len(x), classes)
            bar = classes * alpha * torch.nn.functional.one_hot(x, classes).double() + 1 - alpha
            hat = classes * alpha * head + 1 - alpha
            bar_z, hat_z = bar.gather(1, z[:, None]), hat.gather(1, z[:, None])
            inner = (bar / bar_z * (bar * hat_z / (bar_z * hat)).log()).sum(1)
            theirs = (classes / hat_z - classes / bar_z)[:, 0] + inner
            theirs = theirs / (classes * alpha)
            # ρ/q: the rate into any state is 1/(K·κ).
            kappa, each = noise_of(alpha, classes, len(x))
            weight = 1.0 / (classes * alpha) / (each + torch.where(z == x, kappa, 0.0))
            ours = weight * marginal_divergence(logits.expand(len(x), classes), x, z, kappa, each)
            assert float((ours - theirs).abs().max()) < 1e-6 * max(1.0, float(theirs.abs().max()))
