"""A row on the screen: every token once, marks where there is no colour, colours where there is, and a legend."""

import io
import re
import sys

import pytest
import torch
from rich.console import Console

from diffusionlm.data.batch import Batch
from diffusionlm.tokenizer import ByteTokenizer
from diffusionlm.workflows.row_view import MEANINGS, Noised, PackedRow, Piece, row_of, rows_text

BYTES = ByteTokenizer()
EOS = BYTES.eos_id


def batch(*documents, width, frozen=()):
    """Return a row of documents, each given as its tokens."""
    ids = [id for document in documents for id in document]
    segments = [number for number, document in enumerate(documents, start=1) for _ in document]
    positions = [place for document in documents for place in range(len(document))]
    columns = [column + [fill] * (width - len(ids)) for column, fill in ((ids, EOS), (segments, 0), (positions, 0))]
    x_1, segments, positions = (torch.tensor([column]) for column in columns)
    given = torch.zeros(1, width, dtype=torch.bool)
    given[0, list(frozen)] = True
    return Batch(x_1, segments, positions, segments * 10, torch.zeros_like(segments), given)


def plain(row, tokenizer=BYTES, **options):
    return rows_text([row], tokenizer, Console(file=io.StringIO(), width=80), **{"boundaries": False, **options})


def test_documents_are_told_apart_and_padding_is_counted():
    first, second = [*BYTES.encode("one\ntwo"), EOS], BYTES.encode("thr")
    row = row_of(4, batch(first, second, width=20, frozen=[0, 1]), EOS, None, "here")
    assert row.padding == 9
    assert [(piece.document, piece.begin, piece.ends) for piece in row.pieces] == [(10, 0, True), (20, 8, False)]
    lines = plain(row).splitlines()
    assert lines[0] == "row 4 · here · 11 of 20 positions, 2 documents"
    assert lines[1].startswith("document 10, whole · window 0 · positions 0–7 · 8 tokens ──")
    assert lines[2:4] == ["⟨on⟩e⏎", "two‹eos›"]
    assert lines[4].startswith("document 20, its beginning · window 0 · positions 8–10 · 3 tokens ──")
    assert lines[5] == "thr"
    assert lines[6].startswith("9 positions of padding ──")
    assert lines[8].startswith("legend: ⟨text⟩ given, neither noised nor scored; text may be noised and scored; ⏎")


def test_blanks_at_the_end_of_a_line_stay():
    row = row_of(0, batch(BYTES.encode("a  "), width=3), EOS, None, "here")
    assert "\na  \n" in plain(row)


def test_boundaries():
    row = row_of(0, batch([*BYTES.encode("aé"), EOS], width=4), EOS, None, "here")
    assert "a│‹\\xc3›│‹\\xa9›│‹eos›\n" in plain(row, boundaries=True)
    assert "│" not in plain(row)


def test_without_a_tokenizer_ids_are_shown():
    assert "\n97 98 \n" in plain(row_of(0, batch([97, 98], width=2), EOS, None, "here"), None)


NOISY = PackedRow(
    0,
    "here",
    6,
    (
        Piece(
            document=0, window=3, begin=0, ids=(*b"abcde", EOS), ends=True,
            kinds=("given", "scored", "scored", "kept", "left out", "left out"),
            noised=Noised((97, 120, BYTES.vocab_size, 100, 101, EOS), "the network sees",
                          (False, True, True, False, False, False), (0.25, 0.5)),
        ),
    ),
)  # fmt: skip


def test_noise_stands_below_the_text_in_marks():
    lines = plain(NOISY).splitlines()
    assert lines[1].startswith("document 0, its end · window 3")
    assert lines[2] == "⟨a⟩⟦bc⟧d⟪e‹eos›⟫"
    assert lines[3] == "t = 0.250 … 0.500: 2 of 6 noised, 2 scored, 2 left out; the network sees"
    assert lines[4] == "⟨a⟩⟦x░⟧d"
    legend = lines[-1]
    assert all(MEANINGS[kind] in legend for kind in ("given", "scored", "kept", "left out", "noise"))
    assert MEANINGS["plain"] not in legend


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_take_the_place_of_marks_on_a_terminal_that_has_them(no_color, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", no_color=no_color)
    text = rows_text([NOISY], BYTES, console, boundaries=False)
    assert ("⟦" in text) == no_color
    codes = set(re.findall(r"\x1b\[([0-9;]+)m", text))
    coloured = {code for code in codes if any(30 <= int(number) <= 47 for number in code.split(";"))}
    assert bool(coloured) != no_color
    if not no_color:
        assert "\x1b[1;32mbc\x1b[0m" in text
        assert "\x1b[30;43mx░\x1b[0m" in text
