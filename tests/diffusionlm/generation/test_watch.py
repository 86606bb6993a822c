"""The live canvas: what it shows, and that it is silent where there is no terminal."""

from __future__ import annotations

from io import StringIO

import torch
from rich.console import Console

from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import Frame
from diffusionlm.generation.watch import STYLES, LiveCanvas, canvas_text, render
from diffusionlm.tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
MASK = TOKENIZER.vocab_size


def frame() -> Frame:
    """Return "héy" given, then "a" (may change), noise, a new "b", end-of-text; and a second, shorter canvas."""
    canvas = lay_out([Template((tuple("héy".encode()), Hole(4))), Template((Hole(2),))], [3, 4])
    z = torch.tensor([[*"héy".encode(), 97, MASK, 98, TOKENIZER.eos_id], [10, 27, 0, 0, 0, 0, 0, 0]])
    changed = torch.zeros_like(z, dtype=torch.bool)
    changed[0, 6] = True
    settled = z != MASK
    settled[0, 4] = False
    return Frame(4, z, canvas.editable & (z == MASK), changed, settled, canvas)


def test_cells_are_styled_by_what_they_are() -> None:
    text = canvas_text(frame(), 0, TOKENIZER)
    assert text.plain == "héya░b∎"
    styles = {text.plain[i]: str(span.style) for span in text.spans for i in range(span.start, span.end)}
    assert styles["é"] == styles["h"] == STYLES["given"]
    assert styles["a"] == STYLES["open"]
    assert styles["∎"] == STYLES["settled"]
    assert len(set(STYLES.values())) == len(STYLES)
    assert styles["░"] == STYLES["noise"]
    assert styles["b"] == STYLES["new"]


def test_control_characters_and_padding_do_not_reach_the_terminal() -> None:
    assert canvas_text(frame(), 1, TOKENIZER).plain == "\n�"


def test_panels_tell_sample_step_and_progress() -> None:
    console = Console(file=StringIO(), width=60, record=True)
    console.print(render(frame(), TOKENIZER))
    shown = console.export_text()
    assert "sample 3" in shown
    assert "step 5 · 2 of 4 tokens settled" in shown
    assert "héya░b∎" in shown
    assert "sample 4" in shown
    console.print(render(frame(), TOKENIZER, rows=1))
    assert "sample 4" not in console.export_text()


def test_a_terminal_shows_the_canvas() -> None:
    out = StringIO()
    with LiveCanvas(TOKENIZER, Console(file=out, force_terminal=True, width=60, color_system=None)) as watch:
        watch(frame())
    assert "héya░b∎" in out.getvalue()


def test_no_terminal_no_output() -> None:
    out = StringIO()
    with LiveCanvas(TOKENIZER, Console(file=out, force_terminal=False)) as watch:
        watch(frame())
    assert out.getvalue() == ""
