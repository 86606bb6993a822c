"""The wheel: what is in it, and that every command answers where nothing but the wheel and its light needs is there."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from cli import data, main

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow

# Enough for --help, --print-config and every message about a configuration; the heavy packages come with an install.
LIGHT = ["typer", "pydantic", "tomli-w"]


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    out = tmp_path_factory.mktemp("dist")
    done = run(["uv", "build", "--wheel", "--out-dir", str(out)], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel into a clean environment and return its folder of scripts."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    pip = ["uv", "pip", "install", "--python", str(folder / "bin" / "python")]
    for command in ([*pip, "--no-deps", str(wheel)], [*pip, *LIGHT]):
        done = run(command)
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_what_is_in_the_wheel(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"benchmarking", "cli", "config", "diffusionlm"}
    for needed in ("config/recipes/quickstart.toml", "config/schemas/train.json", "diffusionlm/py.typed"):
        assert needed in names
    for source in (ROOT / "diffusionlm").rglob("*.py"):
        assert source.relative_to(ROOT).as_posix() in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_every_command_answers(installed, tmp_path):
    for script in project()["scripts"]:
        done = run([installed / script, "--help"], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
    for words in [[verb] for verb in main.COMMANDS] + [["data", verb] for verb in data.COMMANDS]:
        done = run([installed / "flowlm", *words, "--help"], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"flowlm {' '.join(words)}" in done.stdout


def test_a_recipe_by_its_bare_name_and_a_mistake(installed, tmp_path):
    command = [installed / "flowlm-train", "--config", "quickstart", "--print-config"]
    done = run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(done.stdout)["run"]["name"] == "quickstart"
    done = run([*command, "--set", "training.stesp=3"], cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'steps'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_version(installed, tmp_path):
    done = run([installed / "flowlm", "--version"], cwd=tmp_path)
    assert done.stdout == project()["version"] + "\n"
