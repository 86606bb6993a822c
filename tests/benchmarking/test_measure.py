"""Quantiles, pair ratios, FLOPs against a count by hand and by PyTorch's own counter, and the ceiling."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarking.measure import Quantiles, matmul_ceiling, pair_ratios, step_flops
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.process import Vocabulary
from diffusionlm.process.layout import Layout

SHAPE = TransformerParams(layers=2, width=32, heads=4, kv_heads=2, hidden=48, context_length=8)


def test_quantiles():
    assert Quantiles.of([5.0, 1.0, 4.0, 2.0, 3.0, 0.0]) == Quantiles(1.0, 2.5, 4.0)
    assert Quantiles.of([7.0]) == Quantiles(7.0, 7.0, 7.0)


def test_pairs_are_neighbours():
    ratios = pair_ratios([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert ratios == Quantiles(2.0, 2.0, 2.0)
    with pytest.raises(ValueError):
        pair_ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize("activation", ["swiglu", "relu2"])
def test_flops_of_a_dense_step_are_what_pytorch_counts(activation):
    shape = SHAPE.model_copy(update={"activation": activation, "kv_heads": None})
    model = build_model(shape, Vocabulary.after(19), 0)
    x = torch.randint(19, (3, 8))
    # Fused attention is not counted everywhere, and its backward pass is counted as recomputing Q Kᵀ.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        h = model(x, None, Layout(segments=None))
        torch.nn.functional.linear(h, model.head_weight).sum().backward()
    assert counter.get_total_flops() == step_flops(shape, 19, 24, 24)


def test_flops_by_hand():
    everywhere = 2 * 32 * (32 + 16) * 2 + 3 * 32 * 48
    attention = 12 * 2 * 8 * 32 * 24
    assert step_flops(SHAPE, 19, 24, 10) == 6 * everywhere * 24 + 6 * (3 * 32 * 48 + 32 * 19) * 10 + attention


def test_the_ceiling_is_a_rate():
    assert matmul_ceiling(torch.device("cpu"), torch.float32, threads=1, sizes=(64,), seconds=0.05) > 0.01
