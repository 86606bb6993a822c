"""The chunks of a head: their gradient is the dense one, and no more than one chunk's logits are alive."""

from __future__ import annotations

import weakref

import torch

from diffusionlm.kernels.chunked_head import chunked_head

N, D, K = 23, 5, 11


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, D, generator=generator, dtype=torch.float64) for n in (N, K))
    return hidden.requires_grad_(), weight.requires_grad_(), torch.rand(N, generator=generator, dtype=torch.float64)


def squares(logits: torch.Tensor, chunk: slice, weight: torch.Tensor, values: torch.Tensor, wanted: bool):
    """f = Σ_k logits²; d Σ w·f / d logits = 2·w·logits."""
    del chunk
    values.copy_(logits.pow(2).sum(1))
    return logits.mul_(2 * weight[:, None]) if wanted else logits


def test_the_gradient_is_the_dense_one_for_any_chunk() -> None:
    hidden, weight, w = data()
    dense = ((hidden @ weight.t()).pow(2).sum(1) * w).sum()
    expected = torch.autograd.grad(3 * dense, (hidden, weight))
    for size in (1, 7, N, 100):
        total, values = chunked_head(hidden, weight, w, size, squares)
        assert torch.allclose(total, dense)
        assert not values.requires_grad
        got = torch.autograd.grad(3 * total, (hidden, weight))
        assert all(torch.allclose(a, b) for a, b in zip(got, expected, strict=True))


def test_without_gradients_none_is_asked_for() -> None:
    hidden, weight, w = data()
    asked = []
    with torch.no_grad():
        chunked_head(hidden, weight, w, 7, lambda *given: (asked.append(given[-1]), squares(*given))[1])
    assert asked == [False] * 4


def test_a_chunk_is_gone_before_the_next_one_is_made() -> None:
    hidden, weight, w = data()
    seen: list[weakref.ref] = []

    def score(logits: torch.Tensor, *rest):
        assert all(one() is None for one in seen)
        seen.append(weakref.ref(logits))
        return squares(logits, *rest)

    chunked_head(hidden, weight, w, 7, score)
    assert len(seen) == 4
