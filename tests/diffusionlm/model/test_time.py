"""Time conditioning: features tell times apart, modulation is exactly nothing at first."""

import torch

from diffusionlm.model.time import FEATURES, Modulation, time_features


def test_neighbouring_times_have_different_features():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)[None]
    features = time_features(t, torch.float64)[0]
    assert features.shape == (101, FEATURES)
    assert float(features.abs().max()) <= 1.0
    assert float((features[1:] - features[:-1]).norm(dim=-1).min()) > 0.5


def test_features_are_computed_in_float64_whatever_the_dtype():
    t = torch.tensor([[0.123456]], dtype=torch.float64)
    assert torch.equal(time_features(t, torch.float32), time_features(t, torch.float64).float())


def test_modulation():
    layer = Modulation(6)
    x, condition = torch.randn(3, 6), torch.randn(3, FEATURES)
    layer.map.weight.data.zero_()
    assert torch.equal(layer(x, condition), x)
    assert layer.map.bias is not None
    layer.map.bias.data = torch.cat((torch.full((6,), 2.0), torch.full((6,), 5.0)))
    assert torch.allclose(layer(x, condition), x * 3 + 5, atol=1e-6)
