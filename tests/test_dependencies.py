"""What the code imports is what an installation brings: the base, an extra, or for benches the development group.

The development environment holds everything, so users alone would notice a package that ``pyproject.toml`` does not
name.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OURS = {"cli", "config", "diffusionlm", "benchmarking"}
# Files that need an extra, and say in one line how to install it where it is missing.
OF_EXTRAS = {
    "diffusionlm/runlog/outputs/tensorboard.py": "tensorboard",
    "diffusionlm/workflows/compare_plots.py": "plots",
    "diffusionlm/workflows/data_plots.py": "plots",
}
# Packages that come with one of the base, which cannot do without them.
COMES_WITH = {"huggingface-hub": "datasets", "llvmlite": "numba", "pyarrow": "datasets", "pydantic-core": "pydantic"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


BASE = named(PROJECT["project"]["dependencies"])
EXTRAS = {extra: named(needs) for extra, needs in PROJECT["project"]["optional-dependencies"].items()}
DEVELOPMENT = named(PROJECT["dependency-groups"]["dev"])


def imported(path: Path) -> set[str]:
    """Return the top names of the packages from elsewhere that a file imports at run time."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(part)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for part in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(module):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_module":
            names |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return names - OURS - set(sys.stdlib_module_names)


SOURCES = sorted(path for top in OURS for path in (ROOT / top).rglob("*.py"))
DISTRIBUTIONS = packages_distributions()


def distributions(path: Path) -> set[str]:
    """Return the distributions that a file needs, by their normal names."""
    found = imported(path)
    assert found <= set(DISTRIBUTIONS), f"{found - set(DISTRIBUTIONS)} is not installed"
    return {normal(DISTRIBUTIONS[name][0]) for name in found}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_installation_brings_what_a_file_imports(path: Path) -> None:
    label = path.relative_to(ROOT).as_posix()
    allowed = BASE | set(COMES_WITH) | (DEVELOPMENT if label.startswith("benchmarking/") else set())
    allowed |= EXTRAS[OF_EXTRAS[label]] if label in OF_EXTRAS else set()
    assert distributions(path) <= allowed


@pytest.mark.parametrize(("package", "base"), COMES_WITH.items())
def test_what_comes_with_a_base_package_is_required_by_it(package: str, base: str) -> None:
    assert base in BASE
    without_extras = [need for need in requires(base) or [] if "extra ==" not in need]
    assert package in named(without_extras)


def test_nothing_is_brought_that_no_file_imports() -> None:
    everything = set().union(*(distributions(path) for path in SOURCES))
    # torch imports these two itself: triton to compile, tensorboard to write its logs.
    assert BASE - everything <= {"triton"}
    assert set().union(*EXTRAS.values()) - everything <= {"tensorboard"}
