"""Samples come out as each batch is done, numbered and made as if all had been made at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffusionlm.generation import GenerationParams
from diffusionlm.workflows.batch_by_batch import batch_by_batch
from diffusionlm.workflows.infer import infer
from diffusionlm.workflows.params import InferParams
from diffusionlm.workflows.train import train
from tests.diffusionlm.workflows.runs import configuration, write_text


@pytest.mark.parametrize(
    ("samples", "size", "sizes"),
    [(1, 2, [2, 1]), (2, 4, [4, 2]), (5, 2, [2, 2, 1] * 3), (4, 4, [4, 4, 4]), (3, 4, [3] * 3)],
)
def test_no_more_than_a_batch_before_the_first_sample(samples: int, size: int, sizes: list[int]):
    calls: list[int] = []

    def make(model: Any, tokenizer: Any, process: Any, texts: Any, params: Any, *, first_sample: int, observe: Any):
        calls.append(len(texts) * params.samples)
        return [(first_sample + i, texts[i // params.samples]) for i in range(calls[-1])]

    opened: Any = SimpleNamespace(model=None, tokenizer=None, process=None)
    params = GenerationParams(samples=samples, batch_size=size)
    out = batch_by_batch(make, opened, ["a", "b", "c"], params, watch=False)
    first = next(out)
    assert calls == sizes[:1]
    everything = [first, *out]
    assert calls == sizes
    assert [number for number, _, _ in everything] == list(range(3 * samples))
    assert all(made == (number, text) for number, text, made in everything)
    assert [text for _, text, _ in everything] == [text for text in "abc" for _ in range(samples)]


def test_the_samples_do_not_depend_on_the_batches(tmp_path: Path):
    folder = tmp_path / "run"
    train(configuration(write_text(tmp_path), folder, training={"steps": 2}))
    made = []
    for size in (2, 64):
        generation = GenerationParams(samples=5, batch_size=size, length=8, steps=4)
        params = InferParams(checkpoint=str(folder), prompts=("the", "of a"), generation=generation, device="cpu")
        made.append([(sample.number, sample.prompt, sample.generation.ids) for sample in infer(params)])
    assert made[0] == made[1]
    assert len({ids for _, _, ids in made[0]}) > 1
