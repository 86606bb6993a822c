"""Traces on disk: every sample's start and changes, which replayed give its tokens."""

import json
from dataclasses import replace

import pytest

from diffusionlm.errors import DataError
from diffusionlm.generation import GenerationParams, SelfCorrectionParams, generate
from diffusionlm.process import PROCESSES
from diffusionlm.sampling import AnyPosition
from diffusionlm.workflows.batch_by_batch import batch_by_batch
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
