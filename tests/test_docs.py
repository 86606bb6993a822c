"""The documentation is true: its commands load, its links lead somewhere, its tree is the repository's."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import main
from diffusionlm.workflows.train import train
from tests.diffusionlm.workflows.runs import configuration, write_text

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def tracked():
    """Return the files of the repository: those in git, or all that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def shell_lines(text):
    """Return the commands in the shell blocks of a page."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def flowlm_commands():
    lines = [line.removeprefix("uv run ") for page in PAGES for line in shell_lines(page.read_text(encoding="utf-8"))]
    return [line for line in lines if line.startswith("flowlm")]


@pytest.mark.parametrize("line", flowlm_commands())
def test_a_command_loads(line, tmp_path, monkeypatch):
    """Run what the page says, up to the resolved configuration, from a folder that is not the repository."""
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(line)
    verb = [program.removeprefix("flowlm-")] if program != "flowlm" else []
    extra = [] if [*verb, *arguments][0] == "schema" else ["--print-config"]
    result = CliRunner().invoke(main.app, [*verb, *arguments, *extra])
    assert result.exit_code == 0, result.stderr
    assert tomllib.loads(result.stdout) or not extra


def test_the_readme_shows_every_script():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = {line.split()[0] for line in flowlm_commands()}
    assert set(project["scripts"]) - {"flowlm"} <= shown


def test_just_recipes_that_are_named_exist():
    known = set(
        re.findall(r"^([a-z-]+)(?: \*arguments)?:", (ROOT / "Justfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = {name for page in PAGES for name in re.findall(r"`just ([a-z]+)", page.read_text(encoding="utf-8"))}
    assert named <= known
    assert {"default", "setup", "test", "slow", "lint", "types", "smoke", "bench", "wheel"} <= known


def test_ci_runs_the_two_commands_of_the_readme():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    first, second, third = shell_lines(README)[:3]
    assert first == "python3 -m pip install uv"
    assert "python3 -m pip install --quiet uv" in ci
    assert f"{second} --set run.debug=true" in ci
    assert f"\n{third}\n" in ci


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def tree_entries():
    """Return the paths in the README's tree, and how many of them have a comment."""
    (block,) = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)
    stack, entries = [], []
    for line in block.splitlines():
        found = re.fullmatch(r"( *)(\S+) {2,}(\S.*)", line)
        assert found, f"no comment: {line}"
        depth = len(found[1]) // 2
        stack = [*stack[:depth], found[2].rstrip("/")]
        entries.append(("/".join(stack), found[2].endswith("/")))
    return entries


def test_the_tree_is_the_repository():
    entries = dict(tree_entries())
    for path, is_folder in entries.items():
        assert (ROOT / path).is_dir() if is_folder else (ROOT / path).is_file(), path
    present = {Path(name).parts[0] for name in tracked() if "/" in name and not name.startswith(".")}
    assert present == {path for path in entries if "/" not in path}
    names = {Path(name).parts[1] for name in tracked() if name.startswith("diffusionlm/")}
    listed = {path.split("/")[1] for path in entries if path.startswith("diffusionlm/")}
    assert names - {"__init__.py", "py.typed"} == listed


def test_docs_are_named_in_the_readme():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in README


def test_extending_names_every_registry():
    text = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
    found = set()
    for path in (ROOT / "diffusionlm").rglob("*.py"):
        found |= set(re.findall(r"^([A-Z_]+): Registry\[", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert found
    for name in found:
        assert f"`{name}`" in text


def test_the_example_of_extending_works(tmp_path, monkeypatch):
    """Save the page's own example as a module and use it."""
    text = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
    (tmp_path / "straight_example.py").write_text(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0])
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("straight_example")
    schedule = module.Straight(module.StraightParams(warmup_steps=2))
    assert [schedule.multiplier(step, 4) for step in range(4)] == [0.5, 0.75, 0.5, 0.25]


def test_the_python_of_the_readme_works(tmp_path, monkeypatch, capsys):
    model = {"layers": 1, "width": 32, "heads": 2, "context_length": 48}
    train(configuration(write_text(tmp_path), tmp_path / "runs" / "quickstart", model=model, training={"steps": 2}))
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(code, {})
    printed = capsys.readouterr().out
    assert "def add(a, b):" in printed
    assert float(printed.split()[-2]) > 0


def test_no_page_names_what_is_not_the_projects():
    """No machine's paths and no tool of the place where it was written."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(^|[\s`(])/(work|tmp|root|home)/", text), page.name
