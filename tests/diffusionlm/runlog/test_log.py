"""The run log writes JSON lines always, only on rank zero, and reads its outputs from configuration."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from pydantic import ValidationError

from diffusionlm.runlog import (
    LOGGERS,
    ConsoleParams,
    RunLogParams,
    TensorBoardParams,
    WandbParams,
    open_run_log,
    read_jsonl,
)

SILENT = RunLogParams(outputs=())


def test_metrics_and_tables_become_json_lines(tmp_path):
    with open_run_log(SILENT, tmp_path / "run", total_steps=4) as log:
        log.log({"loss": 2.5, "tokens": 7, "phase": "train"}, 1)
        log.log({"loss": math.nan}, 2)
        log.table("samples", ["prompt", "text", "score"], [["a", "b\nc", 0.5], ["d", "é", math.inf]], 2)
    first, second = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert {name: first[name] for name in ("step", "loss", "tokens", "phase")} == {
        "step": 1,
        "loss": 2.5,
        "tokens": 7,
        "phase": "train",
    }
    assert first["time"] > 1.6e9
    assert (second["loss"], second["nonfinite"]) == (None, {"loss": "nan"})
    rows = read_jsonl(tmp_path / "run" / "samples.jsonl")
    assert [(row["step"], row["table"], row["row"]) for row in rows] == [(2, "samples", 0), (2, "samples", 1)]
    assert rows[0]["values"] == {"prompt": "a", "text": "b\nc", "score": 0.5}
    assert rows[1]["nonfinite"] == {"values.score": "inf"}


def test_nothing_is_written_before_the_first_value(tmp_path):
    open_run_log(SILENT, tmp_path / "run").close()
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_log_reads_as_if_it_never_stopped(tmp_path):
    def train(folder, steps, resume_step=None):
        with open_run_log(SILENT, folder, resume_step=resume_step) as log:
            for step in steps:
                log.log({"loss": 1 / step}, step)
                log.table("samples", ["text"], [[str(step)]], step)

    train(tmp_path / "unbroken", range(1, 9))
    train(tmp_path / "resumed", range(1, 7))  # killed after step 6, its last checkpoint at 4
    with (tmp_path / "resumed" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 7, "lo')
    train(tmp_path / "resumed", range(5, 9), resume_step=4)
    for name in ("metrics.jsonl", "samples.jsonl"):
        unbroken, resumed = (read_jsonl(tmp_path / run / name) for run in ("unbroken", "resumed"))
        for record in unbroken + resumed:
            del record["time"]
        assert resumed == unbroken


@pytest.mark.parametrize("rank", [1, 7])
def test_other_ranks_write_nothing(tmp_path, rank, capfd):
    with open_run_log(RunLogParams(), tmp_path / "run", total_steps=3, rank=rank, resume_step=2) as log:
        assert not log.writes
        log.log({"loss": 1.0}, 1)
        log.table("samples", ["text"], [["a"]], 1)
        log.artifact("model", tmp_path, "model")
        log.advance(1)
        log.say("hello")
        log.truncate(0)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_wrong_reports_are_refused(tmp_path):
    log = open_run_log(SILENT, tmp_path)
    with pytest.raises(AssertionError, match=r"cannot be called \['step'\]"):
        log.log({"step": 1}, 1)
    with pytest.raises(AssertionError, match="a row of 1 for 2 columns"):
        log.table("samples", ["a", "b"], [["only"]], 1)
    with pytest.raises(TypeError, match="got list"):
        log.log({"loss": [1.0]}, 1)  # type: ignore[dict-item]
    assert not (tmp_path / "metrics.jsonl").exists()


def test_outputs_are_names_or_tables():
    params = RunLogParams.model_validate({"outputs": ["console", {"name": "wandb", "mode": "offline"}, "tensorboard"]})
    assert params.outputs == (ConsoleParams(), WandbParams(mode="offline"), TensorBoardParams())
    assert RunLogParams().outputs == (ConsoleParams(),)
    for wrong in ({"outputs": ["consol"]}, {"outputs": [{"name": "wandb", "modes": "x"}]}, {"log_every": 0}):
        with pytest.raises(ValidationError):
            RunLogParams.model_validate(wrong)
    schema = json.dumps(RunLogParams.model_json_schema())
    assert all(f'"{name}"' in schema for name in LOGGERS)


def test_registry_names():
    assert set(LOGGERS) == {"console", "tensorboard", "wandb"}


def test_reading_the_parameters_imports_nothing_heavy():
    code = (
        "import sys, diffusionlm.runlog as r; r.RunLogParams(outputs=['console', 'wandb', 'tensorboard']);"
        "sys.exit(str([m for m in ('torch', 'numpy', 'wandb', 'tensorboard', 'rich') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() in ("", "[]"), done.stderr


def test_what_is_said_reaches_stderr_without_any_output(tmp_path, capsys):
    with open_run_log(RunLogParams(outputs=()), tmp_path) as log:
        log.say("step 3: the gradient is not finite")
    open_run_log(RunLogParams(outputs=()), tmp_path, rank=1).say("not twice")
    assert capsys.readouterr() == ("", "step 3: the gradient is not finite\n")
