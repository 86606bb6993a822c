"""Samples come out as each batch is done, as if all had been made at once; and their traces replay to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffusionlm.errors import DataError
from diffusionlm.generation import GenerationParams, SelfCorrectionParams, generate
from diffusionlm.process import PROCESSES
from diffusionlm.sampling import AnyPosition
from diffusionlm.workflows.batch_by_batch import batch_by_batch
from diffusionlm.workflows.infer import infer
from diffusionlm.workflows.params import InferParams
from diffusionlm.workflows.train import train
from tests.diffusionlm.workflows.runs import configuration, write_text
from tests.diffusionlm.workflows.test_language_model import untrained

OPENED = untrained().opened
MIXTURE = replace(OPENED, process=PROCESSES.build(PROCESSES["mixture"].Params(), OPENED.process.vocabulary))
PROMPTS = ["ab", "c", "é"]


@pytest.mark.parametrize("correction", [None, SelfCorrectionParams(rounds=5)])
def test_a_trace_replays_to_the_sample(tmp_path, correction):
    file = tmp_path / "trace.jsonl"
    params = GenerationParams(
        length=6,
        steps=5,
        batch_size=2,
        samples=2,
        guidance=0.5,
        sampler=AnyPosition.Params(threshold=1.0, margin=0.0),
        self_correction=correction,
    )
    made = list(batch_by_batch(generate, MIXTURE, PROMPTS, params, watch=False, trace=str(file)))
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    canvases = {line["sample"]: line["start"] for line in lines if line["step"] == -1}
    assert sorted(canvases) == list(range(6))
    assert all(len(line["texts"]) == len(line["start"]) for line in lines if line["step"] == -1)
    mask, size = MIXTURE.process.vocabulary.mask_id, MIXTURE.tokenizer.vocab_size
    for line in lines:
        if line["step"] < 0:
            continue
        canvas = canvases[line["sample"]]
        assert canvas[line["position"]] == line["old"]
        canvas[line["position"]] = line["new"]
        assert (line["old_text"] is None) == (line["old"] == mask)
        assert line["new"] < size
        assert 0 < line["confidence"] <= 1
    for number, prompt, sample in made:
        given = list(prompt.encode())
        assert canvases[number][: len(given) + len(sample.ids)] == given + list(sample.ids)
    # What is not asked for is not kept, and asking changes nothing.
    plain = list(batch_by_batch(generate, MIXTURE, PROMPTS, params, watch=False))
    assert all(sample.trace is None for _, _, sample in plain)
    assert [sample.ids for _, _, sample in plain] == [sample.ids for _, _, sample in made]


def test_a_trace_that_cannot_be_written_is_known_before_sampling(tmp_path):
    file = str(tmp_path / "nowhere" / "trace.jsonl")
    with pytest.raises(DataError, match=r"cannot write the trace to .*; give a file in a folder that exists"):
        next(batch_by_batch(generate, OPENED, PROMPTS, GenerationParams(), watch=False, trace=file))


@pytest.mark.parametrize("file", ["", "-"])
def test_a_trace_without_a_file_is_refused(file):
    with pytest.raises(DataError, match=r"a trace goes to a file, got .*; give a name such as trace\.jsonl"):
        next(batch_by_batch(generate, OPENED, PROMPTS, GenerationParams(), watch=False, trace=file))


def broken(*arguments: Any, **named: Any):
    raise DataError("nothing can be sampled")


def test_an_existing_trace_survives_a_run_that_samples_nothing(tmp_path):
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("kept\n", encoding="utf-8")
    for file in (old, new):
        with pytest.raises(DataError, match="nothing can be sampled"):
            next(batch_by_batch(broken, OPENED, PROMPTS, GenerationParams(), watch=False, trace=str(file)))
    assert old.read_text(encoding="utf-8") == "kept\n"
    assert not new.exists()


def test_a_trace_replaces_what_the_file_held_and_is_there_as_each_batch_ends(tmp_path):
    file = tmp_path / "trace.jsonl"
    file.write_text("old\n" * 1000, encoding="utf-8")
    params = GenerationParams(length=3, steps=2, batch_size=1)
    samples = batch_by_batch(generate, OPENED, PROMPTS, params, watch=False, trace=str(file))
    for number, _ in enumerate(PROMPTS):
        next(samples)
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert [line["sample"] for line in lines if line["step"] == -1] == list(range(number + 1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, which Linux has, stands for a full disk")
def test_a_full_device_names_the_trace():
    params = GenerationParams(length=3, steps=2)
    with pytest.raises(DataError, match=r"cannot write the trace to /dev/full: No space left on device; free some"):
        list(batch_by_batch(generate, OPENED, PROMPTS, params, watch=False, trace="/dev/full"))


@pytest.mark.parametrize(
    ("samples", "size", "sizes"),
    [(1, 2, [2, 1]), (2, 4, [4, 2]), (5, 2, [2, 2, 1] * 3), (4, 4, [4, 4, 4]), (3, 4, [3] * 3)],
)
def test_no_more_than_a_batch_before_the_first_sample(samples: int, size: int, sizes: list[int]):
    calls: list[int] = []

    def make(
        model: Any,
        tokenizer: Any,
        process: Any,
        texts: Any,
        params: Any,
        *,
        first_sample: int,
        trace: bool,
        observe: Any,
    ):
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
