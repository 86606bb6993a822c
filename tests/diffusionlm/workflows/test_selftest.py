"""The suite passes as it is, and fails where a method is broken."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from cli import selftest as command
from diffusionlm.process import PROCESSES, MaskProcess, UniformProcess
from diffusionlm.sampling import SAMPLERS, Ancestral
from diffusionlm.workflows.params import SelftestParams
from diffusionlm.workflows.selftest import checks_of, selftest


def lines(name: str, samples: int = 4000):
    return {(check.kind, check.method): check for check in checks_of(name, samples)}


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_passes(name):
    checks = lines(name)
    assert [str(check) for check in checks.values() if not check.ok] == []
    assert checks
    if PROCESSES[name].bound == "tight" and PROCESSES[name].state == "ids":
        assert ("bound", "") in checks


def test_every_sampler_of_the_process_has_a_line():
    fitting = {name for name in SAMPLERS if issubclass(MaskProcess, SAMPLERS[name].requires)}
    assert {method for kind, method in lines("mask") if kind == "sampler"} == fitting


def test_a_wrong_rate_fails(monkeypatch):
    """Noise whose derivative is off by a tenth: the bound is then another number, and the suite says so."""
    right = UniformProcess.noise

    def wrong(self, t):
        noise = right(self, t)
        return type(noise)(**{**vars(noise), "duniform": 1.1 * noise.duniform})

    monkeypatch.setattr(UniformProcess, "noise", wrong)
    assert not lines("uniform")["bound", ""].ok


def test_wrong_weights_in_corrupt_fail_the_evaluator(monkeypatch):
    right = MaskProcess.corrupt

    def wrong(self, *arguments, **named):
        out = right(self, *arguments, **named)
        return type(out)(**{**vars(out), "weight": 1.1 * out.weight})

    monkeypatch.setattr(MaskProcess, "corrupt", wrong)
    checks = lines("mask")
    assert checks["bound", ""].ok
    assert not checks["evaluator", ""].ok


def test_a_sampler_that_reveals_too_much_fails_and_the_command_ends_with_1(monkeypatch):
    monkeypatch.setattr(Ancestral, "reveal_probability", lambda self, t, u: torch.ones_like(u))
    result = CliRunner().invoke(command.app, ["--process", "mask", "--json"])
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["failed"] == 1
    (failed,) = [check for check in record["checks"] if not check["ok"]]
    assert (failed["kind"], failed["method"]) == ("sampler", "ancestral")
    text = CliRunner().invoke(command.app, ["--process", "mask"]).stdout
    assert text.count("FAILED") == 1


def test_a_method_that_breaks_down_is_a_failed_line(monkeypatch):
    def broken(self, t):
        raise ValueError("no such time")

    monkeypatch.setattr(UniformProcess, "level_rate", broken)
    check = lines("uniform")["bound", ""]
    assert not check.ok
    assert "no such time" in check.note


def test_a_process_by_a_wrong_name_is_one_line():
    result = CliRunner().invoke(command.app, ["--process", "masc"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "known: " in result.stderr
    assert selftest(SelftestParams(processes=("mask",), samples=1000)).record()["failed"] == 0
