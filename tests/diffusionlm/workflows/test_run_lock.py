"""A second run is kept out of a run folder for as long as the first one lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from diffusionlm.errors import ConfigError
from diffusionlm.workflows.run_lock import RunLock
from diffusionlm.workflows.train import train
from tests.diffusionlm.workflows.runs import configuration, write_text


def test_a_folder_that_is_there(tmp_path: Path):
    with RunLock(tmp_path) as lock:
        lock.make()
        with pytest.raises(ConfigError, match="is in use by another run"), RunLock(tmp_path):
            pass
    with RunLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_both_would_make(tmp_path: Path):
    folder = tmp_path / "runs" / "new"
    with RunLock(folder) as first, RunLock(folder) as second:
        first.make()
        first.make()
        with pytest.raises(ConfigError, match="is in use by another run"):
            second.make()
    assert folder.is_dir()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch):
    def refuse(*rest: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunLock(tmp_path) as lock:
        lock.make()


@pytest.mark.parametrize("resume", ["", "auto"])
def test_training_beside_another_run_is_refused(tmp_path: Path, resume: str):
    """Nothing is touched, not even what looks left over: the other run may be saving it."""
    params = configuration(
        write_text(tmp_path),
        tmp_path / "run",
        training={"steps": 2},
        run={"folder": tmp_path / "run", "resume": resume},
    )
    half = tmp_path / "run" / "checkpoints" / f".step-1.tmp-{os.getpid()}"
    half.mkdir(parents=True)
    with RunLock(tmp_path / "run"), pytest.raises(ConfigError, match="is in use by another run"):
        train(params)
    assert half.is_dir()


def test_a_refused_run_makes_no_folder(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(Exception, match="empty"):
        train(configuration(tmp_path / "empty.txt", tmp_path / "run", training={"steps": 2}))
    assert not (tmp_path / "run").exists()
