"""What infer and infill say while they sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffusionlm.generation import GenerationParams, SelfCorrectionParams, generate
from diffusionlm.workflows import changing_line
from diffusionlm.workflows.batch_by_batch import batch_by_batch
from diffusionlm.workflows.sampling_progress import SamplingProgress, sampling_words, share_done
from tests.diffusionlm.generation.test_watch import frame
from tests.diffusionlm.workflows.test_language_model import untrained


def test_one_batch_is_all_there_is() -> None:
    assert sampling_words(0, 1, 1, 0, 0.0, 0.0) == "sampling: 1 sample at 0%, step 0"
    assert sampling_words(0, 16, 16, 1_200, 0.25, 10.0) == "sampling: 16 samples at 25%, step 1,200, 0:00:30 left"


def test_of_several_batches_each_counts() -> None:
    words = sampling_words(16, 16, 64, 32, 0.5, 24.0)
    assert words == "sampling: 16 of 64 samples done, the next 16 at 50%, step 32, 0:00:40 left"


def test_a_batch_is_as_far_as_its_steps_or_its_tokens() -> None:
    one = frame()  # step 4 is done; two of its six tokens to make, and the second canvas, are not settled
    holes = one.canvas.editable
    settled = float((one.settled & holes).sum()) / int(holes.sum())
    assert 0.5 < settled < 1.0
    assert share_done(one, steps=1000) == settled
    assert share_done(replace(one, settled=torch.zeros_like(holes)), steps=10) == 0.5
    assert share_done(one, steps=2) == 1.0


def test_rounds_of_correction_are_steps_as_well() -> None:
    assert SamplingProgress(1, GenerationParams(steps=10)).steps == 10
    params = GenerationParams(steps=10, self_correction=SelfCorrectionParams(rounds=5))
    assert SamplingProgress(1, params).steps == 15


def test_a_long_run_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(changing_line, "LOG_SECONDS", 0.0)
    params = GenerationParams(length=4, steps=4, samples=3, batch_size=2)
    made = list(batch_by_batch(generate, untrained().opened, ["a"], params, watch=False))
    lines = capsys.readouterr().err.splitlines()
    assert len(made) == 3
    assert lines[0].startswith("sampling: 0 of 3 samples done, the next 2 at 0%, step 0")
    assert lines[-1].startswith("sampling: 2 of 3 samples done, the next 1 at 100%, step 4, 0:00:00 left")
    assert all(line.startswith("sampling: ") for line in lines)
