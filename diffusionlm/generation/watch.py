"""A live canvas in the terminal: noise turning into text, on stderr.

    with LiveCanvas(tokenizer) as watch:
        generate(..., observe=watch)

The mask token shows as ░. A token that stands there but may still change (any token of an unfinished hole, for noise
that looks like text or a sampler that edits) is in italics and of the colour of noise; those placed by the last step
are highlighted, given ones are dim, and settled ones plain. Where stderr is not a terminal nothing is printed.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from diffusionlm.generation.loop import Frame

if TYPE_CHECKING:
    from diffusionlm.tokenizer import Tokenizer

NOISE, END = "░", "∎"
STYLES = {
    "given": "dim",
    "noise": "blue",
    "open": "italic blue",
    "new": "bold black on green",
    "settled": "default",
}


class LiveCanvas:
    """Shows the frames of a run as they come. Use as a context manager and as the run's ``observe``.

    Args:
        tokenizer: Turns ids into text.
        console: Where to draw; stderr by default.
        rows: Canvases of a batch to show, at most.
    """

    def __init__(self, tokenizer: Tokenizer, console: Console | None = None, rows: int = 4) -> None:
        self.tokenizer = tokenizer
        self.console = Console(stderr=True) if console is None else console
        self.rows = rows
        self._frame: Frame | None = None
        self._live: Live | None = None

    def __enter__(self) -> LiveCanvas:
        if self.console.is_terminal:
            # The view is built when the terminal is redrawn, a few times a second, and not at every step.
            self._live = Live(
                console=self.console,
                get_renderable=self._view,
                refresh_per_second=12,
                transient=True,
                vertical_overflow="crop",
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, frame: Frame) -> None:
        """Show a frame."""
        self._frame = frame

    def _view(self) -> RenderableType:
        return Text("") if self._frame is None else render(self._frame, self.tokenizer, self.rows)


def render(frame: Frame, tokenizer: Tokenizer, rows: int = 4) -> RenderableType:
    """Return the first ``rows`` canvases of a frame, each in a panel that tells its sample, step and settled tokens."""
    panels = []
    for row in range(min(rows, frame.z.shape[0])):
        hole = frame.canvas.editable[row]
        settled, total = int((hole & frame.settled[row] & ~frame.noise[row]).sum()), int(hole.sum())
        title = f"sample {int(frame.canvas.sample[row])}"
        subtitle = f"step {frame.step + 1} · {settled} of {total} tokens settled"
        panels.append(
            Panel(
                canvas_text(frame, row, tokenizer),
                title=title,
                subtitle=subtitle,
                title_align="left",
                border_style="dim",
            )
        )
    return Group(*panels)


def canvas_text(frame: Frame, row: int, tokenizer: Tokenizer) -> Text:
    """Return one canvas as styled text; a character whose bytes are spread over tokens is shown whole."""
    length = int(frame.canvas.segments[row].sum())
    columns = (frame.z, frame.noise, frame.changed, frame.settled, frame.canvas.editable)
    text = Text(overflow="fold")
    utf8 = getincrementaldecoder("utf-8")("replace")
    for token, noise, changed, settled, editable in zip(*(column[row, :length].tolist() for column in columns)):
        kind = "noise" if noise else "given" if not editable else "new" if changed else "settled" if settled else "open"
        if noise or token == tokenizer.eos_id:
            text.append(printable(utf8.decode(b"", final=True)))
            text.append(NOISE if noise else END, STYLES[kind])
        else:
            # A character takes the style of the token that holds its last byte.
            text.append(printable(utf8.decode(tokenizer.token_bytes(token))), STYLES[kind])
    text.append(printable(utf8.decode(b"", final=True)))
    return text


def printable(text: str) -> str:
    """Return ``text`` with control characters, but for line feeds and tabs, replaced: a model may emit any of them."""
    return "".join(c if c in "\n\t" or c.isprintable() else "�" for c in text)
