"""``flowlm methods``: what there is, from the registries: paper, bound, head, what fits what, and what proves it.

The same tables stand in docs/METHODS.md between two markers; a test keeps them current, so a new method documents
itself by existing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.errors import ConfigError
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import PROCESSES, Process
from diffusionlm.sampling import SAMPLERS, Filters, Sampler
from diffusionlm.workflows.params import MethodsParams
from diffusionlm.workflows.selftest import NO_LAW, SEQUENCES, build, claimed, fits, planned
from diffusionlm.workflows.tables import to_text

BEGIN = "<!-- methods: written by flowlm methods --write, do not edit -->"
END = "<!-- end of methods -->"
_URL = re.compile(r"https?://[^\s,;)]+|arXiv:\d{4}\.\d{4,5}")


@dataclass(frozen=True)
class Table:
    """One kind of method.

    Attributes:
        title: What the rows are.
        columns: Headings.
        rows: A row for each method.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class MethodsReport:
    """The tables of everything that is registered.

    Attributes:
        tables: Processes, objectives, samplers.
        style: ``text`` or ``markdown``.
        written: The file that was brought up to date, if one was.
    """

    tables: tuple[Table, ...]
    style: str = "text"
    written: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the tables as a JSON object: a list of objects for each."""
        return {table.title: [dict(zip(table.columns, row)) for row in table.rows] for table in self.tables}

    def report(self) -> str:
        """Return the tables in the style that was asked for, or the file that was written."""
        if self.written is not None:
            return self.written
        if self.style == "markdown":
            return markdown(self.tables)
        return "\n\n".join(f"{table.title}\n{to_text(table.columns, table.rows)}" for table in self.tables)


def methods(params: MethodsParams) -> MethodsReport:
    """Return the tables, and write them into a file where one is named.

    Raises:
        ConfigError: The file is missing, or has no markers.
    """
    tables = (processes(), objectives(), samplers())
    if params.write is not None:
        write(Path(params.write), tables)
    return MethodsReport(tables, params.format, params.write)


def processes() -> Table:
    """Return the table of processes."""
    rows = []
    for name in PROCESSES:
        kind = PROCESSES[name]
        rows.append(
            (
                name,
                paper(kind),
                kind.bound,
                (kind.network_head or OBJECTIVES[kind.objective].minimiser(kind)).replace("_", "-"),
                _listed([other for other in OBJECTIVES if fits(OBJECTIVES[other].check, kind)], kind.objective),
                _listed([other for other in SAMPLERS if fits(SAMPLERS[other].check, kind)], kind.sampler),
                oracle_state(build(name, SEQUENCES)),
            )
        )
    columns = ("process", "paper", "bound", "head", "objectives", "samplers", "oracle test")
    return Table("Processes", columns, tuple(rows))


def objectives() -> Table:
    """Return the table of training objectives."""
    rows = []
    for name in OBJECTIVES:
        kind = OBJECTIVES[name]
        states = ", ".join(sorted(kind.states))
        rows.append((name, paper(kind), kind.head.replace("_", "-"), "yes" if kind.is_bound else "no", states))
    return Table("Objectives", ("objective", "paper", "minimised by", "a bound", "states"), tuple(rows))


def samplers() -> Table:
    """Return the table of samplers."""
    rows = []
    for name in SAMPLERS:
        kind = SAMPLERS[name]
        fitting = [other for other in PROCESSES if fits(kind.check, PROCESSES[other])]
        heads = " or ".join(head.replace("_", "-") for head in sorted(kind.heads))
        rows.append((name, paper(kind), law(kind, fitting), heads, ", ".join(fitting) or "none"))
    return Table("Samplers", ("sampler", "paper", "law, with an exact head", "head", "processes"), tuple(rows))


def law(kind: type[Sampler], fitting: Sequence[str]) -> str:
    """Return in words what a sampler with its defaults claims of its samples."""
    if not fitting:
        return "–"
    words = {"joint": "the data law as steps grow", "single": "exact for one position", "heuristic": "a heuristic"}
    return words[kind(kind.Params(), build(fitting[0], SEQUENCES), Filters()).law]


def oracle_state(process: Process) -> str:
    """Return which exact tests ``flowlm selftest`` holds a process to; the test suite runs all of them."""
    checks = list(planned(process))
    kinds = [kind for kind, _ in checks]
    rules = [
        SAMPLERS.build(SAMPLERS[method].Params(), process, Filters()) for kind, method in checks if kind == "sampler"
    ]
    losses = [method for kind, method in checks if kind == "loss"]
    said = [f"bound {'= entropy' if process.bound == 'tight' else '> entropy'}"] if "bound" in kinds else []
    said += ["evaluator"] if "evaluator" in kinds else []
    said += [f"loss of {', '.join(losses)}"] if losses else []
    said += ["start"] if "start" in kinds else []
    if rules:
        number = f"{len(rules)} sampler{'s' if len(rules) > 1 else ''}"
        lawless = all(claimed(rule) == "none" for rule in rules)
        said += [f"{number}, {NO_LAW}" if lawless else f"{number}, one position" if "start" in kinds else number]
    return "; ".join(said) or next(method for kind, method in checks if kind == "none")


def paper(kind: type) -> str:
    """Return the first reference in a class's docstring, or in that of its module."""
    for text in (kind.__doc__, sys.modules[kind.__module__].__doc__):
        if found := _URL.search(text or ""):
            url = found.group().rstrip(".")
            return f"https://arxiv.org/abs/{url.removeprefix('arXiv:')}" if url.startswith("arXiv:") else url
    return "–"


def _listed(names: Sequence[str], default: str) -> str:
    """Return the names, the default one first."""
    return ", ".join(sorted(names, key=lambda name: (name != default, name))) or "none"


def markdown(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown between the markers."""
    parts = [BEGIN]
    for table in tables:
        lines = [f"### {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line([f"`{row[0]}`", *(_linked(cell) for cell in row[1:])]) for row in table.rows]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, END])


def write(path: Path, tables: Sequence[Table]) -> None:
    """Replace what stands between the markers of a file.

    Raises:
        ConfigError: The file is missing, or has no markers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--write {path}: {error.strerror}; name a Markdown file that holds the markers") from None
    if BEGIN not in text or END not in text:
        raise ConfigError(f"--write {path}: it lacks the markers; put these two lines into it: {BEGIN} and {END}")
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    path.write_text(f"{before}{markdown(tables)}{after}", encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _linked(cell: str) -> str:
    """Return a cell with a bare address as a short link."""
    if not _URL.fullmatch(cell):
        return cell
    name = cell.removeprefix("https://").removeprefix("http://").removeprefix("arxiv.org/abs/").strip("/")
    return f"[{name if len(name) <= 24 else name.split('/')[0]}]({cell})"
