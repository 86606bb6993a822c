"""The suite passes as it is, and fails where a method is broken."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from cli import selftest as command
from diffusionlm.process import PROCESSES, ArProcess, LogitProcess, MaskProcess, UniformProcess
from diffusionlm.sampling import SAMPLERS, Ancestral
from diffusionlm.workflows import selftest as suite
from diffusionlm.workflows.params import SelftestParams
from diffusionlm.workflows.selftest import Effort, checks_of, selftest
from diffusionlm.workflows.selftest_law import exact_divergence
from diffusionlm.workflows.selftest_report import SelftestReport

LITTLE = Effort(samples=3000, steps=32, rows=1500, draws=8)
FLOWS = Effort(samples=8000)
"""The KL of 8 cells is told from zero by more samples, which are cheap at one position."""


def lines(name: str, *kinds: str):
    """Return the checks of a process with little drawn, all or those of some kinds."""
    asked = suite.planned(suite.build(name, suite.SEQUENCES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "planned", lambda process: [p for p in asked if not kinds or p[0] in kinds])
        effort = FLOWS if PROCESSES[name].state == "simplex" else LITTLE
        return {(check.kind, check.method): check for check in checks_of(name, effort)}


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_passes(name):
    checks = lines(name)
    assert [str(check) for check in checks.values() if not check.ok] == []
    assert checks
    if PROCESSES[name].bound == "tight":
        assert checks["bound", ""].error is not None
    if PROCESSES[name].state == "simplex":
        assert checks["start", ""].error is not None
    # Nothing that is registered is left out, and no process is without a number.
    fitting = {sampler for sampler in SAMPLERS if issubclass(PROCESSES[name], SAMPLERS[sampler].requires)}
    assert {method for kind, method in checks if kind == "sampler"} == fitting != set()


def test_a_process_whose_start_is_not_its_noise_claims_no_law():
    checks = lines("keep", "sampler")
    assert {(check.state, check.note) for check in checks.values()} == {("none", "no law is claimed")}


def test_an_autoregressive_view_that_shows_too_much_fails(monkeypatch):
    """The text itself in place of the text one place to the right: the bound falls below the entropy."""
    right = ArProcess.view

    def leaking(self, corrupted, x_1, segments, positions):
        view = right(self, corrupted, x_1, segments, positions)
        return type(view)(view.tokens, view.t, view.layout.with_causal(False))

    monkeypatch.setattr(ArProcess, "view", leaking)
    checks = lines("ar", "bound", "evaluator", "loss")
    assert [check.ok for check in checks.values()] == [False] * 4


def test_a_flow_that_goes_too_far_fails(monkeypatch):
    right = LogitProcess.advance
    monkeypatch.setattr(LogitProcess, "advance", lambda self, x, p, t, u: right(self, x, p, t, u + (u - t)))
    checks = lines("logit", "sampler")
    assert not checks["sampler", "basic"].ok
    assert checks["sampler", "sampling"].ok


def test_a_start_that_knows_the_text_fails(monkeypatch):
    monkeypatch.setattr(LogitProcess, "level", lambda self, t: self.clock.log_s(t) + 0.1)
    assert not lines("logit", "start")["start", ""].ok


def test_a_wrong_rate_fails(monkeypatch):
    """Noise whose derivative is off by a tenth: the bound is then another number, and the suite says so."""
    right = UniformProcess.noise

    def wrong(self, t):
        noise = right(self, t)
        return type(noise)(**{**vars(noise), "duniform": 1.1 * noise.duniform})

    monkeypatch.setattr(UniformProcess, "noise", wrong)
    assert not lines("uniform", "bound")["bound", ""].ok


def test_wrong_weights_fail_the_evaluator(monkeypatch):
    right = MaskProcess.corrupt_level

    def wrong(self, *arguments, **named):
        out = right(self, *arguments, **named)
        return type(out)(**{**vars(out), "weight": 1.1 * out.weight})

    monkeypatch.setattr(MaskProcess, "corrupt_level", wrong)
    checks = lines("mask", "bound", "evaluator")
    assert checks["bound", ""].ok
    assert not checks["evaluator", ""].ok


def test_a_sampler_that_reveals_too_much_fails_and_the_command_ends_with_1(monkeypatch):
    monkeypatch.setattr(Ancestral, "reveal_probability", lambda self, t, u: torch.ones_like(u))
    result = CliRunner().invoke(command.app, ["--process", "mask", "--json", "--set", "samples=1000"])
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["failed"] == 1
    (failed,) = [check for check in record["checks"] if not check["ok"]]
    assert (failed["kind"], failed["method"]) == ("sampler", "ancestral")
    checks = [suite.Check(**check) for check in record["checks"]]
    assert SelftestReport(checks, 0.0).report().count("FAILED") == 1


def test_a_method_that_breaks_down_is_a_failed_line(monkeypatch):
    def broken(self, t):
        raise ValueError("no such time")

    monkeypatch.setattr(UniformProcess, "level_rate", broken)
    check = lines("uniform", "bound")["bound", ""]
    assert not check.ok
    assert "no such time" in check.note


def test_a_process_by_a_wrong_name_is_one_line():
    result = CliRunner().invoke(command.app, ["--process", "masc"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "known: " in result.stderr
    assert selftest(SelftestParams(processes=("mask",), samples=1000)).record()["failed"] == 0


def test_few_samples_do_not_fail_a_right_method_and_names_count_once():
    """The fewest that are allowed; the KL of exact samples alone is beyond the allowance of many."""
    report = selftest(SelftestParams(processes=("sphere", "one_shot", "sphere"), samples=1000))
    assert report.failed == 0
    names = [(check.kind, check.process, check.method) for check in report.checks]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("number", [1000, 8000])
def test_the_divergence_of_exact_samples(number):
    """Its mean and spread over many draws, and the allowance far out in its tail."""
    law = torch.distributions.Multinomial(number, suite.POINTS.flat())
    torch.manual_seed(0)
    p, q = suite.POINTS.flat(), law.sample((1000,)) / number
    kl = (p * (p / q).log()).sum(1)
    mean = exact_divergence(suite.POINTS, number, 0.0)
    assert float(kl.mean()) == pytest.approx(mean, rel=0.06)
    assert exact_divergence(suite.POINTS, number, 1.0) - mean == pytest.approx(float(kl.std()), rel=0.15)
    assert float((kl > exact_divergence(suite.POINTS, number, suite.DEVIATIONS)).double().mean()) < 0.01


@pytest.mark.parametrize("samples", [0, 999, 10**20])
def test_a_number_of_samples_that_cannot_be_is_one_line(samples):
    result = CliRunner().invoke(command.app, ["--set", f"samples={samples}"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
