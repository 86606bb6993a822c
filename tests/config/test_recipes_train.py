"""Every packaged training recipe runs: a few steps on a small text, then its score, its samples and a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from config.files import recipe_names
from config.load import load
from config.overrides import parse
from diffusionlm.process import PROCESSES
from diffusionlm.registry import params_name
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.train import train
from tests.config.recipes import command_of
from tests.diffusionlm.workflows.runs import lines_of, write_text

STEPS = 2
SMALL = (
    "run.debug=true",
    "run.device=cpu",
    "run.threads=1",
    "data.source=",
    "data.validation_source=",
    "data.validation_fraction=0.2",
    "data.cache=none",
    "data.workers=1",
    f"training.steps={STEPS}",
    "training.batch_size=4",
    "training.precision=fp32",
    "validation.rows=4",
    "validation.final_tokens=200",
    "generation.steps=8",
    "log.log_every=1",
    'samples.infill=["the <|hole:3|> of"]',  # a recipe's own may be too long in so small a vocabulary
)


@pytest.mark.parametrize("name", [name for name in recipe_names() if command_of(name) == "train"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # so small a text runs out of pairs to merge
def test_it_trains_scores_and_samples(name: str, tmp_path: Path) -> None:
    text = write_text(tmp_path, documents=60)
    source = ("data.source.name=text", f"data.source.path={text}", f"run.folder={tmp_path / 'run'}")
    params = load(TrainParams, name, [parse(option) for option in (*SMALL, *source)])
    report = train(params)
    assert report.outcome.step == STEPS
    assert (report.checkpoint / "manifest.json").is_file()
    losses = [line["loss"] for line in lines_of(tmp_path / "run") if "loss" in line]
    assert len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)
    if PROCESSES[params_name(type(params.process))].bound != "none":
        assert report.likelihood is not None
        assert 0 < report.likelihood.bits_per_byte < 30
    assert len(lines_of(tmp_path / "run", "samples.jsonl")) >= len(params.samples.prompts) + len(params.samples.infill)
