"""The shape of the repository, read from its syntax trees: layers, module names, docstrings, and what is imported when.

    L5 workflows | L4 training generation evaluation | L3 objective sampling checkpoint oracle | L2 data model
    L1 tokenizer process kernels optim dist
    L0 errors device params paths registry rng shape messages runlog lazy nearest

An import goes strictly downward; packages of one layer do not import one another. cli, config and benchmarking stand
above the library.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# L0 is a short ladder of its own: its modules are single files that build on one another.
LAYERS = [
    {"errors", "lazy", "nearest"},
    {"device", "params", "paths"},
    {"registry", "rng"},
    {"shape"},
    {"messages"},
    {"runlog"},
    {"tokenizer", "process", "kernels", "optim", "dist"},
    {"data", "model"},
    {"objective", "sampling", "checkpoint", "oracle"},
    {"training", "generation", "evaluation"},
    {"workflows"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
OUTSIDE = {"cli": {"config", "diffusionlm", "benchmarking"}, "config": {"diffusionlm"}, "benchmarking": {"diffusionlm"}}
SOURCES = sorted(p for top in ("cli", "config", "diffusionlm", "benchmarking") for p in (ROOT / top).rglob("*.py"))


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every absolute module that is imported anywhere under ``node``, with its line."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from ((alias.name, part.lineno) for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0, f"line {part.lineno}: a relative import; imports between modules are absolute"
            assert part.module is not None
            # `from diffusionlm import rng` names the package's module in the alias.
            names = [f"{part.module}.{alias.name}" for alias in part.names] if "." not in part.module else []
            yield from ((name, part.lineno) for name in [part.module, *names])


def violations(path: Path, module: ast.Module) -> list[str]:
    """Return what is wrong with the imports of one file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    wrong = []
    for name, line in imported(module):
        target = name.split(".")
        if parts[0] != "diffusionlm":
            ours = target[0] in ("cli", "config", "diffusionlm", "benchmarking")
            if ours and target[0] != parts[0] and target[0] not in OUTSIDE[parts[0]]:
                wrong.append(f"{label(path)}:{line}: {parts[0]} imports {name}")
        elif target[0] in OUTSIDE or target[0] == "tests":
            wrong.append(f"{label(path)}:{line}: the library imports {name}")
        elif target[0] == "diffusionlm" and len(target) > 1 and parts[1] in LEVEL and target[1] in LEVEL:
            here, there = parts[1], target[1]
            if here != there and LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{label(path)}:{line}: {here} imports {name}, which is not below it")
    return wrong


def test_every_package_has_a_layer():
    packages = {p.stem if p.suffix == ".py" else p.name for p in (ROOT / "diffusionlm").iterdir()}
    assert packages - {"__init__", "__pycache__", "py.typed", "api"} <= set(LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_go_downward(path):
    assert violations(path, tree(path)) == []


def test_the_layer_test_sees_what_it_should():
    path = ROOT / "diffusionlm" / "data" / "made_up.py"
    for text in (
        "import diffusionlm.model.transformer",
        "from diffusionlm.training import loop",
        "def f():\n    from diffusionlm import workflows",
        "from cli import app",
        "import config.load",
    ):
        assert len(violations(path, ast.parse(text))) >= 1, text
    for text in ("from diffusionlm.tokenizer import Tokenizer", "from diffusionlm import rng", "import torch"):
        assert violations(path, ast.parse(text)) == [], text
    assert violations(ROOT / "config" / "made_up.py", ast.parse("import cli.app"))


def test_no_module_is_a_drawer():
    assert [label(p) for p in SOURCES if p.stem in ("utils", "util", "common", "misc", "helpers")] == []


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_module_docstring(path):
    docstring = ast.get_docstring(tree(path))
    assert docstring is not None
    assert len(docstring.split()) >= 4


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_no_fallback_reads_and_no_bare_except(path):
    """A three-argument getattr turns a typo into a default; a bare except hides one."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            assert len(node.args) < 3, f"{label(path)}:{node.lineno}: getattr with a default"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{label(path)}:{node.lineno}: bare except"


def top_level_imports(module: ast.Module) -> set[str]:
    """Return the first names of the modules that are imported when this module is, those for type checkers left out."""
    bodies, found = [module.body], set()
    while bodies:
        for node in bodies.pop():
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {name.split(".")[0] for name, _ in imported(node)}
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                bodies += [node.body, node.orelse]
            elif isinstance(node, ast.Try | ast.With):
                bodies.append(node.body)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_parameters_are_free_of_heavy_imports(path):
    """A file that defines parameters is read to validate a configuration, so it must not import torch or numpy."""
    module = tree(path)
    classes = [node for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base) for node in classes for base in node.bases}
    if any(base == "Strict" or base.endswith("Params") for base in bases):
        heavy = top_level_imports(module) & {"torch", "numpy", "datasets", "transformers", "wandb", "pyarrow"}
        assert not heavy, f"{label(path)} defines parameters and imports {heavy} at its top"


def test_functions_and_files_stay_readable():
    """Sixty lines for a function and three hundred for a file are budgets; a file may exceed its own by a fifth."""
    long = []
    for path in SOURCES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > 360:
            long.append(f"{label(path)}: {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                size = (node.end_lineno or 0) - body[0].lineno + 1
                if size > 60:
                    long.append(f"{label(path)}:{node.lineno}: {node.name} has {size} lines")
    assert long == []
