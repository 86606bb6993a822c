"""The table of methods: everything that is registered is in it, and the page in docs/ is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import methods as command
from diffusionlm.errors import ConfigError
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import PROCESSES
from diffusionlm.sampling import SAMPLERS
from diffusionlm.workflows.methods import BEGIN, END, markdown, methods, write
from diffusionlm.workflows.params import MethodsParams

ROOT = Path(__file__).parents[3]


def invoke(*arguments):
    return CliRunner().invoke(command.app, list(arguments))


@pytest.mark.parametrize("page", ["README.md", "docs/METHODS.md"])
def test_the_page_is_current(page):
    """If this fails: flowlm methods --write with the page that it names."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text[text.index(BEGIN) : text.index(END) + len(END)] == markdown(methods(MethodsParams()).tables)


def test_everything_registered_has_a_row_and_a_paper():
    record = json.loads(invoke("--json").stdout)
    for title, first, registry in (
        ("Processes", "process", PROCESSES),
        ("Objectives", "objective", OBJECTIVES),
        ("Samplers", "sampler", SAMPLERS),
    ):
        assert [row[first] for row in record[title]] == list(registry)
        assert all(row["paper"].startswith("http") for row in record[title])


def test_the_mask_process():
    (row,) = [row for row in methods(MethodsParams()).record()["Processes"] if row["process"] == "mask"]
    assert (row["bound"], row["head"]) == ("tight", "leave-one-out")
    assert row["samplers"].startswith("ancestral, ")
    assert row["objectives"].startswith("nelbo, ")
    assert row["oracle test"].startswith("bound = entropy; evaluator; loss of ")


def test_text_and_markdown():
    assert "Processes\nprocess " in invoke().stdout
    assert invoke("--markdown").stdout.startswith(BEGIN)


def test_write(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nWHAT STOOD HERE\n{END}\nafter\n")
    assert invoke("--write", str(page)).stdout == f"{page}\n"
    text = page.read_text()
    assert "WHAT STOOD HERE" not in text
    assert (text.startswith("before\n"), text.endswith(f"{END}\nafter\n")) == (True, True)
    write(page, methods(MethodsParams()).tables)
    assert page.read_text() == text


def test_a_page_without_markers_or_none_at_all(tmp_path):
    with pytest.raises(ConfigError, match="name a Markdown file"):
        write(tmp_path / "absent.md", ())
    (tmp_path / "page.md").write_text("nothing")
    result = invoke("--write", str(tmp_path / "page.md"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "lacks the markers" in result.stderr
