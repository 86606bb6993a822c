"""The Transformer as a head: the right logits at the right rows, and no more work than asked for."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.errors import DivergedError
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import Transformer, build_model
from diffusionlm.process import PROCESSES, Layout, Vocabulary
from diffusionlm.sampling.predictor import CachedPredictor, ModelPredictor


def model(**changes: object) -> Transformer:
    params = TransformerParams.model_validate(
        {"layers": 2, "width": 32, "heads": 4, "context_length": 16, "time_conditioning": True} | changes
    )
    network = build_model(params, Vocabulary.after(9), seed=0).double().eval()
    network.compute_dtype = torch.float64
    for name, parameter in network.named_parameters():
        if parameter.abs().max() == 0:  # zero-initialised maps would hide a wrong time
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return network


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("time_conditioning", [False, True])
def test_rows_left_out_of_the_batch_change_nothing(padded: bool, time_conditioning: bool) -> None:
    network = model(time_conditioning=time_conditioning)
    z = torch.randint(0, 10, (5, 8), generator=torch.Generator().manual_seed(1))
    t = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None].expand(5, 8)
    segments = torch.ones(5, 8, dtype=torch.int64)
    if padded:
        segments[1, 5:] = 0
        segments[3, 2:] = 0
    layout = Layout(segments=segments if padded else None)
    rows = torch.tensor([8, 11, 24, 25])  # samples 1 and 3 only
    seen = []
    hook = network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    logits = ModelPredictor(network, layout).predict(z, t, rows)
    hook.remove()
    assert seen == [(2, 8)]
    with torch.no_grad():
        expected = network.logits(network(z, t, layout)).reshape(40, 9)[rows]
    assert torch.allclose(logits, expected, atol=1e-12)
    assert not logits.requires_grad


def test_logits_are_single_or_double_precision() -> None:
    network = model().float()
    z, t = torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.float64)
    for dtype, expected in ((torch.float32, torch.float32), (torch.bfloat16, torch.float32)):
        network.compute_dtype = dtype
        assert ModelPredictor(network, Layout()).predict(z, t, torch.tensor([2])).dtype == expected
    assert ModelPredictor(model(), Layout()).predict(z, t, torch.tensor([2])).dtype == torch.float64


@pytest.mark.parametrize("weight", [torch.nan, torch.inf])
@pytest.mark.parametrize("cached", [False, True])
def test_weights_that_diverged_are_told(weight: float, cached: bool) -> None:
    network = model(causal=cached)
    with torch.no_grad():
        next(network.parameters()).fill_(weight)
    z, t = torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.float64)
    process = PROCESSES.build(PROCESSES["ar"].Params(), Vocabulary.after(9))
    predictor = CachedPredictor(network, Layout(), process) if cached else ModelPredictor(network, Layout())
    with pytest.raises(DivergedError, match="the network's answer is not a number: its training diverged"):
        predictor.predict(z, t, torch.tensor([2]))
