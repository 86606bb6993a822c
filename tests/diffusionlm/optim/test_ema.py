"""The average of the weights: its rule, an exact save and restore, and a swap that leaves no trace."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.errors import CheckpointError
from diffusionlm.optim import EMA, EMAParams


def move(parameters: dict[str, torch.nn.Parameter], step: int) -> None:
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))


@pytest.mark.parametrize("warmup", [True, False])
def test_follows_its_rule(parameters, warmup):
    ema = EMA(EMAParams(decay=0.8, warmup=warmup), parameters)
    expected = {name: parameter.detach().double() for name, parameter in parameters.items()}
    for step in range(60):
        move(parameters, step)
        ema.update(parameters, step)
        decay = min(0.8, (1 + step) / (10 + step)) if warmup else 0.8
        assert ema.decay(step) == decay
        for name, parameter in parameters.items():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach().double()
    for name, average in ema.state_tensors().items():
        torch.testing.assert_close(average.double(), expected[name], rtol=1e-5, atol=1e-5)


def test_starts_as_a_copy_and_decay_zero_follows(parameters):
    ema = EMA(EMAParams(decay=0.0), parameters)
    assert all(torch.equal(ema.state_tensors()[name], parameters[name]) for name in parameters)
    move(parameters, 0)
    assert not torch.equal(ema.state_tensors()["norm.gain"], parameters["norm.gain"])
    ema.update(parameters, 0)
    assert all(torch.equal(ema.state_tensors()[name], parameters[name]) for name in parameters)


def test_restores_bit_for_bit(make, tmp_path):
    from safetensors.torch import load_file, save_file

    unbroken = make()
    ema = EMA(EMAParams(), unbroken)
    for step in range(6):
        move(unbroken, step)
        ema.update(unbroken, step)
        if step == 2:
            weights = {name: torch.nn.Parameter(p.detach().clone()) for name, p in unbroken.items()}
            save_file(ema.state_tensors(), tmp_path / "ema.safetensors")
    second = EMA(EMAParams(), weights)
    second.load_state_tensors(load_file(tmp_path / "ema.safetensors"))
    for step in range(3, 6):
        move(weights, step)
        second.update(weights, step)
    assert all(torch.equal(second.state_tensors()[name], average) for name, average in ema.state_tensors().items())


def test_swap_shows_the_average_and_leaves_no_trace(parameters):
    ema = EMA(EMAParams(decay=0.5), parameters)
    move(parameters, 0)
    ema.update(parameters, 5)
    weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    average = {name: tensor.clone() for name, tensor in ema.state_tensors().items()}
    addresses = {name: parameter.data_ptr() for name, parameter in parameters.items()}

    def fail_inside() -> None:
        with ema.swap({f"_orig_mod.{name}": parameter for name, parameter in parameters.items()}):
            assert all(torch.equal(parameters[name], average[name]) for name in parameters)
            for forbidden in (ema.state_tensors, lambda: ema.update(parameters, 6)):
                with pytest.raises(AssertionError, match="outside of swap"):
                    forbidden()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert all(torch.equal(parameters[name], weights[name]) for name in parameters)
    assert all(torch.equal(ema.state_tensors()[name], average[name]) for name in average)
    assert {name: parameter.data_ptr() for name, parameter in parameters.items()} == addresses


def test_another_model_is_refused(parameters):
    ema = EMA(EMAParams(), parameters)
    with pytest.raises(CheckpointError, match=r"weight average lacks embed\.weight"):
        ema.load_state_tensors({})
    with pytest.raises(AssertionError, match="averaged"):
        ema.update({"other": parameters["norm.gain"]}, 0)
