"""The TinyStories recipe, offline: two debug steps on Parquet files laid out as the data set's own."""

from __future__ import annotations

import json
import re

import pytest

from config.files import RECIPES
from config.load import load
from config.overrides import parse
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.train import train


def write_parquet(folder):
    """Write a stand-in as ``hf download --include "data/*"`` leaves it: data/<split>-00000-of-….parquet."""
    import datasets

    for split, number in (("train", 60), ("validation", 8)):
        texts = [
            f"Once upon a time there was a little {split} cat. It had {i} red balls to play." for i in range(number)
        ]
        part = datasets.Dataset.from_dict({"text": texts})
        (folder / "data").mkdir(parents=True, exist_ok=True)
        part.to_parquet(str(folder / "data" / f"{split}-00000-of-00001-0123456789abcdef.parquet"))


def offline_settings():
    """Return the settings of the header's command for a machine without a network."""
    return re.findall(r"--set (\S+)", (RECIPES / "tinystories.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("streaming", [False, True])
def test_it_trains_offline_as_its_header_says(tmp_path, streaming, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")  # the recipe's own switch must do
    monkeypatch.chdir(tmp_path)
    assert "--local-dir tinystories" in (RECIPES / "tinystories.toml").read_text(encoding="utf-8")
    write_parquet(tmp_path / "tinystories")
    settings = [
        *offline_settings(),
        f"data.source.cache_dir={tmp_path / 'hf'}",
        f"data.source.streaming={str(streaming).lower()}",
        "data.workers=1",
        "run.debug=true",
        f"run.folder={tmp_path / 'run'}",
        "run.device=cpu",
        "training.steps=2",
        "training.precision=fp32",
        "samples.infill=",
    ]
    done = train(load(TrainParams, "tinystories", [parse(setting) for setting in settings]))
    assert done.exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 2
    assert (tmp_path / "hf").is_dir()
    assert (tmp_path / "run" / "checkpoints" / "step-2").is_dir()


def test_its_offline_settings_are_two():
    source = load(TrainParams, "tinystories", [parse(setting) for setting in offline_settings()]).data.source
    assert (source.path, source.offline) == ("tinystories", True)
