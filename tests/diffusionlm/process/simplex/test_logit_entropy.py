"""The logit flow with an entropy term: the state is the logit flow's, the objective is its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.diffusionlm.process.simplex.points import build, levels, points
from tests.diffusionlm.workflows.runs import configuration


def test_its_states_are_those_of_logit() -> None:
    x = torch.arange(20) % 5
    for t in (0.0, 0.4, 1.0):
        one, two = (points(build(name, 5), t, x) for name in ("logit", "logit_entropy"))
        assert torch.equal(one, two)
        level = levels(build("logit", 5), t, 20)
        assert torch.equal(build("logit", 5).evidence(one, level), build("logit_entropy", 5).evidence(two, level))


@pytest.mark.parametrize(("given", "entropy"), [({}, 0.05), ({"entropy": 0.3}, 0.3), ({"entropy": 0.0}, 0.0)])
def test_a_run_has_its_objective_unless_told(tmp_path: Path, given: dict, entropy: float) -> None:
    sections = {"objective": given} if given else {}
    params = configuration(tmp_path / "text.txt", tmp_path / "run", process={"name": "logit_entropy"}, **sections)
    assert params.objective.name == "ce_entropy"
    assert params.objective.entropy == entropy  # type: ignore[attr-defined]
    other = configuration(
        tmp_path / "text.txt", tmp_path / "run", process={"name": "logit_entropy"}, objective={"name": "ce"}
    )
    assert other.objective.name == "ce"
    assert configuration(tmp_path / "text.txt", tmp_path / "run", process={"name": "logit"}).objective.name == "ce"
