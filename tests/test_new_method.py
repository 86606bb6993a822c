"""A new process is one file and one import line: it trains, samples, is listed and contract-tested, no more edits.

The test adds the example of docs/EXTENDING.md to a copy of the project and runs the copy, as a reader would.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.diffusionlm.workflows.runs import write_text

ROOT = Path(__file__).parent.parent

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "EXTENDING.md").read_text("utf-8"), flags=re.DOTALL)
PROCESS, IMPORT = next(pair for pair in pairwise(EXAMPLES) if "class HalvesProcess" in pair[0])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the new process in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("cli", "config", "diffusionlm", "benchmarking", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "diffusionlm" / "process" / "halves.py").write_text(PROCESS, encoding="utf-8")
    init = folder / "diffusionlm" / "process" / "__init__.py"
    lines = init.read_text(encoding="utf-8").splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if line.startswith("from diffusionlm.process.keep"))
    lines.insert(place, IMPORT)
    init.write_text("".join(lines), encoding="utf-8")
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, whose packages come before the installed ones."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def flowlm(project: Path, *arguments: str) -> str:
    """Run a command of the copy and return what it printed."""
    done = run(project, "-m", "cli.main", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_it_trains_samples_scores_and_is_listed(project: Path, tmp_path: Path) -> None:
    text, folder = write_text(tmp_path, documents=60), tmp_path / "run"
    settings = {
        "run.debug": "true",
        "run.folder": str(folder),
        "process.name": "halves",
        "tokenizer.name": "byte",
        "data.source.name": "text",
        "data.source.path": str(text),
        "data.validation_fraction": "0.2",
        "validation.final_tokens": "200",
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    assert "bits per byte" in flowlm(project, "train", *options)
    assert len(flowlm(project, "infer", "--checkpoint", str(folder), "--prompt", "the ", "--length", "8")) > 0
    assert "tight bound (nelbo)" in flowlm(project, "eval", "--checkpoint", str(folder))
    assert "halves" in flowlm(project, "methods")
    done = run(project, "-m", "cli.main", "train", *options, "--set", "process.name=halfs")
    assert done.returncode == 2
    assert "did you mean 'halves'" in done.stderr


@pytest.mark.slow
def test_it_is_held_to_the_contracts_and_to_the_oracles(project: Path) -> None:
    paths = ("tests/contracts", "tests/oracle/test_bounds.py")
    done = run(project, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "halves", *paths)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.strip().splitlines()[-1].split(" passed")[0].split()[-1])
    assert passed > 40, done.stdout[-500:]


@pytest.mark.slow
def test_selftest_holds_it_to_the_entropy(project: Path) -> None:
    out = flowlm(project, "selftest", "--process", "halves")
    lines = [line for line in out.splitlines() if "halves" in line]
    assert len(lines) >= 3
    assert all("FAILED" not in line for line in lines)
