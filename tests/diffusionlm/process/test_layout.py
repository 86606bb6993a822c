"""A layout changes its direction without changing anything else."""

import torch

from diffusionlm.process import Layout


def test_direction():
    segments = torch.ones(1, 3, dtype=torch.int64)
    layout = Layout(segments=segments)
    assert not layout.causal
    turned = layout.with_causal(True)
    assert turned.causal
    assert turned.segments is segments
    assert not layout.causal
