"""Kept keys and values give what a whole forward pass gives, in every order in which columns are finished."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.generation.batches import complete
from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.params import GenerationParams
from diffusionlm.process import PROCESSES, Process
from diffusionlm.sampling import SAMPLERS
from diffusionlm.sampling.predictor import CachedPredictor, ModelPredictor, build_predictor
from tests.diffusionlm.model.networks import VOCABULARY, K, network

SHAPES = {
    "plain": {},
    "grouped": {"kv_heads": 2, "qk_norm": True, "qkv_bias": True},
    "timed": {"time_conditioning": True},
}
TEMPLATES = [
    Template(((1, 2, 3), Hole(13))),
    Template((Hole(20),)),
    Template(((4,), Hole(2), (5, 6, 7, 8, 9, 1), Hole(5), (7,))),
    Template((tuple(range(9)),)),
    Template((Hole(1), (3,))),
]
CASES = [("ar", "ar"), ("block", "ancestral"), ("block", "confidence")]


def build(name: str) -> Process:
    given = {"block_length": 4} if name == "block" else {}
    return PROCESSES.build(PROCESSES[name].Params.model_validate(given), VOCABULARY)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_left_to_right_with_rows_at_different_places(shape: str, dtype: torch.dtype, tolerance: float) -> None:
    model, process = network(dtype=dtype, **SHAPES[shape]), build("ar")
    canvas = lay_out([Template((Hole(11),)), Template((Hole(8),)), Template((Hole(11),))], range(3))
    x = torch.randint(0, K, (3, 11), generator=torch.Generator().manual_seed(0))
    plain, kept = ModelPredictor(model, canvas.layout(), process), CachedPredictor(model, canvas.layout(), process)
    t, at = torch.zeros(3, 11, dtype=torch.float64), torch.tensor([3, 0, 7])
    for turn in range(8):
        at = torch.minimum(at + torch.tensor([1, 1, turn % 2]), torch.tensor([10, 7, 10]))
        z = torch.where(torch.arange(11) < at[:, None], x, K)
        rows = (torch.arange(3) * 11 + at)[torch.tensor([True, turn != 2, turn % 3 != 1])]
        expected, found = plain.predict(z, t, rows), kept.predict(z, t, rows)
        assert float((expected - found).abs().max()) < tolerance
    assert kept.cache is not None
    assert kept.cache.keys[0].shape == (3, model.params.resolved_kv_heads, 11, 8)


def test_a_pass_takes_the_new_columns_alone(monkeypatch) -> None:
    model, process, widths = network(), build("ar"), []
    forward = model.forward

    def counted(*arguments):
        widths.append(arguments[0].shape[1])
        return forward(*arguments)

    monkeypatch.setattr(model, "forward", counted)
    complete(model, process, [Template(((1, 2, 3, 4), Hole(5)))], GenerationParams())
    assert widths == [5, 1, 1, 1, 1]
    widths.clear()
    done = complete(model, build("block"), [Template(((1, 2), Hole(8)))], GenerationParams(steps=3))
    # Blocks of 4, 4 and 2 columns; the pass that opens a block takes the finished one before it along.
    assert widths == [4, 8, 6]
    assert done[0].nfe == 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "sampler"), CASES)
def test_the_samples_are_the_same_with_and_without_and_alone(name: str, sampler: str, shape: str) -> None:
    model, process, found = network(**SHAPES[shape]), build(name), []
    for cache, batch_size in ((True, 1), (False, 5), (True, 5), (True, 2)):
        params = GenerationParams.model_validate(
            {"cache": cache, "batch_size": batch_size, "steps": 12, "seed": 3, "sampler": {"name": sampler}}
        )
        found.append([(done.ids, done.nfe) for done in complete(model, process, TEMPLATES, params)])
    assert all(other == found[0] for other in found[1:])
    for template, (ids, _) in zip(TEMPLATES, found[0]):
        assert max(ids) < K
        kept = [token == new for token, new, hole in zip(template.ids(), ids, holes_of(template)) if not hole]
        assert all(kept)


def holes_of(template: Template) -> list[bool]:
    inside = [False] * template.length
    for start, end in template.spans():
        inside[start:end] = [True] * (end - start)
    return inside


@pytest.mark.parametrize(("name", "sampler"), CASES)
def test_stopping_ends_a_row_at_its_stop_token(name: str, sampler: str) -> None:
    model, process = network(), build(name)
    params = GenerationParams.model_validate({"steps": 24, "sampler": {"name": sampler}, "samples": 1})
    templates = [Template(((1,), Hole(22)))] * 6
    whole, stopped = (complete(model, process, templates, params, stop_id=stop) for stop in (None, 5))
    for one, other in zip(whole, stopped):
        end = one.ids.index(5, 1) + 1 if 5 in one.ids[1:] else len(one.ids)
        assert one.ids[:end] == other.ids[:end]
        assert other.nfe <= one.nfe
    assert sum(other.nfe for other in stopped) < sum(one.nfe for one in whole)


def test_later_given_text_is_not_seen() -> None:
    model = network()
    for name, sampler in CASES:
        params = GenerationParams.model_validate({"steps": 8, "sampler": {"name": sampler}})
        one, other = (
            complete(model, build(name), [Template(((1, 2), Hole(6), (tail,) * 4))], params)[0].ids for tail in (3, 9)
        )
        assert one[:8] == other[:8]


def test_only_processes_with_settled_columns_are_cached() -> None:
    model, layout = network(), lay_out(TEMPLATES, range(5)).layout()
    kinds = {name: type(build_predictor(model, layout, build(name), True)) for name in PROCESSES}
    assert {name for name, kind in kinds.items() if kind is CachedPredictor} == {"ar", "block"}
    assert isinstance(build_predictor(model, layout, build("ar"), False), ModelPredictor)
    assert {"ar", "ancestral"} <= set(SAMPLERS)
