"""A learning rate carries over between widths: the factors, and the coordinate check at three widths."""

from __future__ import annotations

import math

import pytest
import torch

from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import Transformer, build_model
from diffusionlm.optim import AdamWParams, MuonParams, build_optimizer
from diffusionlm.params import Strict
from diffusionlm.process import Layout, Vocabulary

BASE, WIDTHS = 16, (16, 64, 256)
K = 13


def small(width: int) -> Transformer:
    shape = TransformerParams(layers=1, width=width, heads=width // 8, head_width=8, context_length=8)
    return build_model(shape, Vocabulary.after(K), seed=1)


def moved(params: Strict, width: int, steps: int = 3) -> tuple[float, float]:
    """Return by how much some steps move the hidden states and the logits, root mean square."""
    model = small(width)
    optimizer = build_optimizer(params, dict(model.named_parameters()), model.parameter_roles())
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, K, (8, 8), generator=generator)
    with torch.no_grad():
        before = model(x, None, Layout())
        said = model.logits(before)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model.logits(model(x, None, Layout()))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), (x.flatten() * 5 + 1) % K).backward()
        optimizer.step(1.0)
    with torch.no_grad():
        after = model(x, None, Layout())
        changed = model.logits(after) - said  # the first logits are of order 1/√width, as µP has it
    return float((after - before).square().mean().sqrt()), float(changed.square().mean().sqrt())


def slopes(make) -> list[float]:
    """Return d ln(moved) / d ln(width) of the hidden states and of the logits."""
    first, last = moved(make, WIDTHS[0]), moved(make, WIDTHS[-1])
    return [math.log(b / a) / math.log(WIDTHS[-1] / WIDTHS[0]) for a, b in zip(first, last, strict=True)]


def test_the_coordinate_check():
    """Hidden states and logits move by the same amount at sixteen times the width; at one rate for all they do not."""
    scaled = slopes(AdamWParams(lr=3e-3, embedding_lr=1e-6, vector_lr=1e-6, base_width=BASE))
    plain = slopes(AdamWParams(lr=3e-3, embedding_lr=1e-6, vector_lr=1e-6))
    assert max(abs(slope) for slope in scaled) < 0.2, scaled
    assert min(plain) > 0.5, plain


def test_muon_needs_no_width():
    fixed = {"embedding_lr": 1e-6, "vector_lr": 1e-6, "precision": "float32"}
    with_head = slopes(MuonParams(lr=0.02, head_lr=3e-3, base_width=BASE, **fixed))
    assert max(abs(slope) for slope in with_head) < 0.2, with_head
    plain = slopes(MuonParams(lr=0.02, head_lr=3e-3, **fixed))
    assert abs(plain[0]) < 0.2  # hidden matrices by construction
    assert plain[1] > 0.5  # the head is Adam's


def test_the_factors():
    model = small(64)
    named, roles = dict(model.named_parameters()), model.parameter_roles()
    groups = build_optimizer(AdamWParams(base_width=32, weight_decay=0.1), named, roles).groups
    scale = {name: group.scale for group in groups for name in group.names}
    decay = {name: group.scale * group.weight_decay for group in groups for name in group.names}
    assert scale["embedding"] == scale["norm.weight"] == 1.0
    assert scale["head.weight"] == scale["blocks.0.attention.q.weight"] == 0.5
    inner = named["blocks.0.feedforward.down.weight"].shape[1]
    assert scale["blocks.0.feedforward.down.weight"] == 32 / inner
    assert decay["head.weight"] == decay["blocks.0.feedforward.down.weight"] == pytest.approx(0.1)
    assert sum(len(group.names) for group in groups) == len(named)
    muon = build_optimizer(MuonParams(base_width=32), named, roles).groups
    assert {group.role: group.scale for group in muon} == {"hidden": 1.0, "embedding": 1.0, "vector": 1.0, "head": 0.5}


@pytest.mark.parametrize("params", [AdamWParams(), MuonParams()])
def test_unset_it_changes_nothing(params):
    model = small(16)
    groups = build_optimizer(params, dict(model.named_parameters()), model.parameter_roles()).groups
    assert [group.role for group in groups] == ["hidden", "embedding", "head", "vector"]
    assert {group.scale for group in groups} == {1.0}
