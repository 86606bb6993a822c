"""Plain tables for stdout: what Rich draws, as text without colours or trailing blanks."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def to_text(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = (), title: str | None = None
) -> str:
    """Return a table as text of any width.

    Args:
        columns: Headings.
        rows: Cells.
        right: The columns that are aligned to the right.
        title: A line above it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=400, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
