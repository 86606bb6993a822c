"""What a checkpoint says about itself, and what is said of a damaged one."""

import json

import pytest

from diffusionlm.errors import CheckpointError
from diffusionlm.workflows.inspect import inspect
from diffusionlm.workflows.params import InspectParams
from tests.diffusionlm.checkpoint.doubles import save, tiny_params


def test_the_newest_checkpoint_of_a_run(tmp_path):
    folder = tmp_path / "checkpoints"
    for step in (3, 7):
        save(folder, step)
    seen = inspect(InspectParams(checkpoint=str(tmp_path)))
    assert seen.path == str(folder / "step-7")
    assert seen.contents["state"]["step"] == 7
    assert seen.contents["model"]["width"] == tiny_params().width
    assert seen.bytes > 1000
    assert json.loads(json.dumps(seen.record()))["contents"]["state"]["seed"] == 5
    assert "model.width = 16" in seen.report().splitlines()
    assert "averaged weights = yes" in seen.report().splitlines()


def test_a_damaged_one_is_named_and_the_previous_one_shown(tmp_path):
    folder = tmp_path / "checkpoints"
    for step in (3, 7):
        save(folder, step)
    with (folder / "step-7" / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    seen = inspect(InspectParams(checkpoint=str(tmp_path)))
    assert seen.contents["state"]["step"] == 3
    assert any(line.startswith("damaged: ") and "step-7" in line for line in seen.report().splitlines())
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        inspect(InspectParams(checkpoint=str(folder / "step-7")))
