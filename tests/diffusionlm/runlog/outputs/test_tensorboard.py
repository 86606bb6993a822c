"""TensorBoard: what was logged can be read back from the event files, and a missing package is one line."""

from __future__ import annotations

import math
import sys

import pytest

from diffusionlm.errors import ConfigError
from diffusionlm.runlog import RunContext, RunLogParams, TensorBoard, TensorBoardParams, open_run_log

PARAMS = RunLogParams(outputs=(TensorBoardParams(),))


def events(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def scalars(found, name):
    return [(event.step, event.value) for event in found.Scalars(name)]


def test_values_and_tables_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    with open_run_log(PARAMS, tmp_path) as log:
        log.log({"loss": 2.5, "phase": "train", "lr/hidden": 0.5}, 1)
        log.log({"loss": math.nan, "validation/loss": 3}, 2)
        log.table("samples", ["text", "score"], [["a|b\nc", 0.25]], 2)
        log.artifact("best", tmp_path / "checkpoints", "model")
    found = events(tmp_path)
    assert scalars(found, "loss")[0] == (1, 2.5)
    assert math.isnan(scalars(found, "loss")[1][1])
    assert scalars(found, "validation/loss") == [(2, 3.0)]
    assert set(found.Tags()["tensors"]) == {
        "phase/text_summary",
        "samples/text_summary",
        "artifacts/model/best/text_summary",
    }
    (table,) = found.Tensors("samples/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    assert text == "| text | score |\n| --- | --- |\n| a\\|b<br>c | 0.25 |"


def test_a_resumed_run_hides_what_came_after_the_checkpoint(tmp_path):
    pytest.importorskip("tensorboard")
    with open_run_log(PARAMS, tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.log({"loss": float(step)}, step)
    with open_run_log(PARAMS, tmp_path, resume_step=2) as log:
        log.log({"loss": 30.0}, 3)
    assert scalars(events(tmp_path), "loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_nothing_is_opened_before_the_first_value(tmp_path):
    pytest.importorskip("tensorboard")
    open_run_log(PARAMS, tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        ConfigError, match=r"needs the tensorboard package .*pip install 'flowlm\[tensorboard\]'"
    ) as error:
        TensorBoard(TensorBoardParams(), RunContext(tmp_path))
    assert "\n" not in str(error.value)
