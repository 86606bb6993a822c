"""run.json: complete in a checkout, and complete without one."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from diffusionlm.runlog import collect_provenance, provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def test_facts_are_plain_json():
    facts = collect_provenance(seed=7, data_hashes={"train": "abc"}, command=["flowlm", "train"])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["seed"], facts["data"], facts["command"]) == (7, {"train": "abc"}, ["flowlm", "train"])
    assert facts["versions"]["torch"].startswith("2.")
    assert set(facts["versions"]) >= {"python", "torch", "numpy", "flowlm"}
    assert facts["host"]["cpu_cores"] >= 1
    assert facts["host"]["cpu"]
    assert facts["host"]["memory_bytes"] > 2**20
    assert isinstance(facts["host"]["gpus"], list)


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@needs_git
def test_the_commit_of_a_checkout_that_holds_the_library(tmp_path):
    (tmp_path / "diffusionlm").mkdir()
    file = tmp_path / "diffusionlm" / "__init__.py"
    file.write_text("")
    git(tmp_path, "init")
    assert provenance.git_state(tmp_path) is None, "an untracked library is not that checkout's"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    state = provenance.git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["changed"] is False
    file.write_text("x = 1\n")
    changed = provenance.git_state(tmp_path)
    assert changed == {"commit": state["commit"], "changed": True}


def test_outside_a_checkout_and_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(tmp_path) is None
    assert collect_provenance(seed=0)["git"] is None


def test_missing_packages_have_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-here"))
    assert provenance.versions()["no-such-package-here"] is None


def test_a_machine_that_says_little(monkeypatch):
    def refuse(*arguments: object, **keywords: object) -> str:
        raise OSError("not here")

    monkeypatch.setattr(provenance.Path, "read_text", refuse)
    monkeypatch.setattr(provenance.os, "sysconf", refuse)
    assert provenance.cpu_model()
    assert provenance.memory_bytes() is None
