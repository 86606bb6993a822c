"""Weights & Biases: offline runs into the run folder, a kept id, and no failure that stops a run."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from diffusionlm.errors import ConfigError
from diffusionlm.runlog import RunContext, RunLogParams, Wandb, WandbParams, open_run_log, read_jsonl
from diffusionlm.runlog.outputs.wandb import artifact_name, run_id


class FakeRun:
    def __init__(self) -> None:
        self.logged: list[dict] = []
        self.artifacts: list = []
        self.finished: int | None = None

    def define_metric(self, *args: object, **kwargs: object) -> None:
        pass

    def log(self, metrics: dict) -> None:
        self.logged.append(metrics)

    def log_artifact(self, artifact: object) -> None:
        self.artifacts.append(artifact)

    def finish(self, exit_code: int) -> None:
        self.finished = exit_code


class FakeArtifact:
    def __init__(self, name: str, type: str) -> None:
        self.name, self.type, self.files = name, type, []

    def add_file(self, path: str) -> None:
        self.files.append(path)

    add_dir = add_file


@pytest.fixture
def fake(monkeypatch):
    """A stand-in for the wandb package whose ``init`` can be told to fail in some modes."""
    module = SimpleNamespace(fail=(), inits=[], run=FakeRun(), Artifact=FakeArtifact)
    module.Settings = lambda **settings: settings
    module.Table = lambda columns, data: (columns, data)

    def init(**arguments: object) -> FakeRun:
        module.inits.append(arguments)
        if arguments["mode"] in module.fail:
            raise ConnectionError("no route to host\nsecond line")
        return module.run

    module.init = init
    module.calls = []
    module.setup = lambda settings: module.calls.append(("setup", settings))
    module.teardown = lambda: module.calls.append("teardown")
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def params(**values: object) -> RunLogParams:
    return RunLogParams(outputs=(WandbParams(**values),))  # type: ignore[arg-type]


def test_an_offline_run_lands_in_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "run"
    with open_run_log(params(mode="offline", artifacts=True), folder, total_steps=2, config={"a": {"b": 1}}) as log:
        log.log({"loss": 2.0}, 1)
        log.table("samples", ["text"], [["hello"]], 1)
        log.artifact("step/1", folder / "metrics.jsonl", "model")
    (offline,) = (folder / "wandb").glob("offline-run-*")
    (record,) = offline.glob("run-*.wandb")
    assert record.stat().st_size > 0
    assert run_id(folder) in record.name
    assert [r["loss"] for r in read_jsonl(folder / "metrics.jsonl")] == [2.0]


def test_values_tables_and_artifacts_arrive(tmp_path, fake):
    (tmp_path / "weights").mkdir()
    with open_run_log(params(artifacts=True, project="p"), tmp_path, config={"lr": 0.1}) as log:
        log.log({"loss": 2.0}, 5)
        log.table("samples", ["text"], [["a"], ["b"]], 5)
        log.table("samples", ["text"], [["c"]], 10)
        log.artifact("step/5 é", tmp_path / "weights", "model")
    assert fake.run.logged == [
        {"loss": 2.0, "step": 5},
        {"samples": (["text"], [["a"], ["b"]]), "step": 5},
        {"samples": (["text"], [["c"]]), "step": 10},  # a table holds its own rows, not all so far
    ]
    (artifact,) = fake.run.artifacts
    assert (artifact.name, artifact.type) == (artifact_name(f"{tmp_path.name}-step/5 é"), "model")
    assert artifact.files == [str(tmp_path / "weights")]
    assert fake.run.finished == 0
    (init,) = fake.inits
    assert (init["project"], init["config"], init["mode"]) == ("p", {"lr": 0.1}, "online")


def test_a_resumed_run_keeps_its_id(tmp_path, fake):
    for _ in range(2):
        with open_run_log(params(), tmp_path, resume_step=3) as log:
            log.log({"loss": 2.0}, 5)
    first, second = (init["id"] for init in fake.inits)
    assert first == second == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert fake.inits[1]["resume"] == "allow"
    (tmp_path / "other").mkdir()
    assert run_id(tmp_path / "other") != first


def test_without_a_network_it_records_offline_and_says_so(tmp_path, fake, capfd):
    fake.fail = ("online",)
    with open_run_log(params(), tmp_path) as log:
        log.log({"loss": 2.0}, 1)
        log.log({"loss": 1.0}, 2)
    assert [init["mode"] for init in fake.inits] == ["online", "offline"]
    quiet = ("setup", {"silent": True})
    assert fake.calls == [quiet, "teardown", quiet], "no question is asked, and the failed start gives its id back"
    assert [metrics["loss"] for metrics in fake.run.logged] == [2.0, 1.0]
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "warning: wandb is not reachable (ConnectionError: no route to host); recording offline" in err


def test_a_failure_on_the_way_is_told_once_and_the_run_goes_on(tmp_path, fake, capfd):
    with open_run_log(params(), tmp_path) as log:
        log.log({"loss": 2.0}, 1)
        fake.run.log = None
        log.log({"loss": 1.0}, 2)
        log.log({"loss": 0.5}, 3)
        log.table("samples", ["text"], [["a"]], 3)
    assert [record["loss"] for record in read_jsonl(tmp_path / "metrics.jsonl")] == [2.0, 1.0, 0.5]
    err = capfd.readouterr().err
    assert err.count("wandb stopped (TypeError") == 1
    assert err.count("\n") == 1


def test_artifacts_are_sent_only_when_asked_for(tmp_path, fake):
    with open_run_log(params(), tmp_path) as log:
        log.artifact("model", tmp_path, "model")
    assert fake.inits == []


def test_a_failed_run_is_marked_as_failed(tmp_path, fake):
    def fail() -> None:
        with open_run_log(params(), tmp_path) as log:
            log.log({"loss": 2.0}, 1)
            raise RuntimeError("training failed")

    with pytest.raises(RuntimeError, match="training failed"):
        fail()
    assert fake.run.finished == 1


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"'wandb' needs the wandb package .*take it out of the outputs") as error:
        Wandb(WandbParams(), RunContext(tmp_path))
    assert "\n" not in str(error.value)


def test_artifact_names_are_valid():
    assert artifact_name("run/step 5 é:x") == "run-step-5-x"
    assert len(artifact_name("a" * 500)) == 128
