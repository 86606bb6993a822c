"""A packed row as a person reads it: its documents one after another, what is given, what is scored, what is noise.

Each piece of a document is shown as it is, and below it, where noise was asked for, as the network sees it. Colours
where stdout has them, else marks in the text; a legend says what they mean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import torch
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from diffusionlm.data.batch import Batch
from diffusionlm.objective.engine import Prepared
from diffusionlm.tokenizer import Tokenizer
from diffusionlm.tokenizer.visible import MARKS, MASK, visible_tokens

Kind = Literal["plain", "given", "left out", "scored", "noise", "kept"]
STYLES: dict[Kind, str] = {
    "plain": "default",
    "given": "dim",
    "left out": "dim strike",
    "scored": "bold green",
    "noise": "black on yellow",
    "kept": "default",
}
BRACKETS: dict[Kind, tuple[str, str]] = {
    "plain": ("", ""),
    "given": ("⟨", "⟩"),
    "left out": ("⟪", "⟫"),
    "scored": ("⟦", "⟧"),
    "noise": ("⟦", "⟧"),
    "kept": ("", ""),
}
MEANINGS: dict[Kind, str] = {
    "plain": "may be noised and scored",
    "given": "given, neither noised nor scored",
    "left out": "left out of this step",
    "scored": "scored in this step",
    "noise": "noise in its place",
    "kept": "seen as it is",
}
BOUNDARY = "│"
_WIDEST_RULE = 110


@dataclass(frozen=True)
class Noised:
    """A piece as the network sees it.

    Attributes:
        ids: The noisy tokens; None where the network is shown something else.
        sight: What it is shown, in words.
        noised: Which positions were noised.
        times: The lowest and the highest time; None where the whole piece is left out.
    """

    ids: tuple[int, ...] | None
    sight: str
    noised: tuple[bool, ...]
    times: tuple[float, float] | None


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of one document in a row.

    Attributes:
        document, window: As in ``Batch``.
        begin: Its first column in the row.
        ids: The clean tokens.
        ends: Whether its last token ends the document.
        kinds: What each position is in this step; "plain" where no noise was asked for.
        noised: None where no noise was asked for.
    """

    document: int
    window: int
    begin: int
    ids: tuple[int, ...]
    ends: bool
    kinds: tuple[Kind, ...]
    noised: Noised | None


@dataclass(frozen=True)
class PackedRow:
    """One row.

    Attributes:
        number: Its number in the order.
        place: Where that is, in words.
        columns: T.
        pieces: From left to right.
    """

    number: int
    place: str
    columns: int
    pieces: tuple[Piece, ...]

    @property
    def padding(self) -> int:
        """Positions that hold nothing."""
        return self.columns - sum(len(piece.ids) for piece in self.pieces)

    def record(self, tokenizer: Tokenizer | None) -> dict[str, Any]:
        """Return the row as a JSON object; a text that is not UTF-8 has lone surrogates."""
        pieces = []
        for piece in self.pieces:
            found: dict[str, Any] = {"document": piece.document, "window": piece.window, "begin": piece.begin}
            found |= {"ends": piece.ends, "ids": list(piece.ids), "kinds": list(piece.kinds)}
            if tokenizer is not None:
                found["text"] = tokenizer.decode(piece.ids, errors="surrogateescape")
            if piece.noised is not None:
                found |= {"noisy_ids": None if piece.noised.ids is None else list(piece.noised.ids)}
                found |= {"noised": list(piece.noised.noised), "times": piece.noised.times}
            pieces.append(found)
        return {"row": self.number, "place": self.place, "padding": self.padding, "pieces": pieces}


def row_of(number: int, batch: Batch, eos_id: int, noise: Prepared | None, place: str) -> PackedRow:
    """Return the one row of a batch as pieces.

    Args:
        number: The row's number in the order.
        batch: The row, (1, T).
        eos_id: The token that ends a document.
        noise: The row as a step noises it, if that is asked for.
        place: Where the row is, in words.
    """
    segments = batch.segments[0]
    kinds = _kinds(batch, noise)
    pieces = []
    for segment in range(1, int(segments.max()) + 1):
        columns = (segments == segment).nonzero().squeeze(1)
        begin, end = int(columns[0]), int(columns[-1]) + 1
        part = slice(begin, end)
        pieces.append(
            Piece(
                document=int(batch.document[0, begin]),
                window=int(batch.window[0, begin]),
                begin=begin,
                ids=tuple(batch.x_1[0, part].tolist()),
                ends=int(batch.x_1[0, end - 1]) == eos_id,
                kinds=tuple(kinds[part]),
                noised=None if noise is None else _noised(noise, part),
            )
        )
    return PackedRow(number, place, batch.x_1.shape[1], tuple(pieces))


def _kinds(batch: Batch, noise: Prepared | None) -> list[Kind]:
    """Return what each column of the row is."""
    given = batch.frozen[0].tolist()
    if noise is None:
        return ["given" if frozen else "plain" for frozen in given]
    corrupted = noise.corrupted
    scored = torch.zeros(batch.x_1.numel(), dtype=torch.bool)
    for one in noise.passes:
        scored[one.rows.index[: one.scored]] = True
    assert corrupted.segments is not None, "the engine keeps the segments of a batch"
    kept, editable = (corrupted.segments[0] > 0).tolist(), corrupted.editable[0].tolist()
    kinds: list[Kind] = []
    for is_scored, is_kept, is_editable in zip(scored.tolist(), kept, editable):
        kinds.append("left out" if not is_kept else "given" if not is_editable else "scored" if is_scored else "kept")
    return kinds


def _noised(noise: Prepared, part: slice) -> Noised:
    corrupted, ids = noise.corrupted, None
    views = [one.view for one in noise.passes if not one.view.layout.causal]
    if not views:
        sight = "the network sees the clean tokens before each"
    elif not isinstance(corrupted.x_t, torch.Tensor):
        sight = "the network sees points of the simplex, which have no text"
    else:
        ids = tuple(corrupted.x_t[0, part].tolist())
        more = views[0].tokens.shape[1] > corrupted.t.shape[1]
        sight = "the network sees the clean tokens of earlier blocks, and" if more else "the network sees"
    assert corrupted.segments is not None, "the engine keeps the segments of a batch"
    t = corrupted.t[0, part][corrupted.segments[0, part] > 0]
    times = (float(t.min()), float(t.max())) if len(t) else None
    return Noised(ids, sight, tuple(corrupted.noised[0, part].tolist()), times)


def rows_text(rows: Sequence[PackedRow], tokenizer: Tokenizer | None, console: Console, *, boundaries: bool) -> str:
    """Return rows as text for a console: with its colours where stdout is a terminal that has them, else with marks.

    Args:
        rows: The rows.
        tokenizer: None: ids stand for tokens.
        console: Says what stdout can do.
        boundaries: Show where tokens begin.
    """
    coloured = console.is_terminal and sys.stdout.isatty() and not console.no_color and console.color_system is not None
    view = _View(tokenizer, coloured, boundaries)
    with console.capture() as capture:
        for row in rows:
            for line in view.lines(row):
                if isinstance(line, Rule):
                    console.print(line, width=min(console.width, _WIDEST_RULE))
                else:
                    console.print(line, soft_wrap=True, highlight=False)
            console.print()
        console.print(view.legend(), soft_wrap=True, highlight=False)
    return capture.get().rstrip("\n")


class _View:
    """Turns rows into lines of a console, noting which kinds of position it has met.

    Args:
        tokenizer, boundaries: As for ``rows_text``.
        coloured: Colours, or marks.
    """

    def __init__(self, tokenizer: Tokenizer | None, coloured: bool, boundaries: bool) -> None:
        self.tokenizer, self.coloured, self.boundaries = tokenizer, coloured, boundaries
        self.met: dict[Kind, None] = {}

    def lines(self, row: PackedRow) -> list[Text | Rule]:
        """Return the lines of a row."""
        documents = f"{len(row.pieces)} document{'s' if len(row.pieces) > 1 else ''}"
        words = f"{row.columns - row.padding} of {row.columns} positions, {documents}"
        lines: list[Text | Rule] = [Text(f"row {row.number:,} · {row.place} · {words}", style="bold")]
        for piece in row.pieces:
            lines.append(Rule(Text(self._title(piece), style="cyan"), align="left", style="cyan"))
            lines.append(self._text(piece.ids, piece.kinds))
            if piece.noised is not None:
                lines.append(Text(_noise_words(piece, piece.noised), style="cyan"))
                lines += [self._text(*seen) for seen in _seen(piece, piece.noised)]
        if row.padding:
            lines.append(Rule(Text(f"{row.padding} positions of padding", style="dim"), align="left", style="dim"))
        return lines

    def _title(self, piece: Piece) -> str:
        end = piece.begin + len(piece.ids)
        first = "whole" if piece.ends else "its beginning"
        extent = first if piece.window == 0 else "its end" if piece.ends else "its middle"
        columns = f"positions {piece.begin}–{end - 1}"
        return f"document {piece.document:,}, {extent} · window {piece.window} · {columns} · {len(piece.ids)} tokens"

    def _text(self, ids: Sequence[int], kinds: Sequence[Kind]) -> Text:
        """Return tokens, each in the style of its kind."""
        shown = visible_tokens(ids, self.tokenizer, alone=self.boundaries)
        text = Text()
        for kind, group in groupby(zip(kinds, shown), key=itemgetter(0)):
            self.met[kind] = None
            style = STYLES[kind] if self.coloured else ""
            tokens = [token for _, token in group]
            if self.boundaries:
                part = Text(BOUNDARY, "dim").join(Text(token, style) for token in tokens)
                text.append(BOUNDARY if text else "", "dim")
            else:
                part = Text("".join(tokens), style)
            if self.coloured and kind in ("plain", "kept"):
                part.highlight_regex(MARKS, "magenta")
            # Masks show by themselves.
            bare = self.coloured or (kind == "noise" and set(tokens) == {MASK})
            opening, closing = ("", "") if bare else BRACKETS[kind]
            text.append(opening).append_text(part).append(closing)
        return text

    def legend(self) -> Text:
        """Return what the colours or marks stand for, of those that were met."""
        legend = Text("legend: ", style="dim")
        entries = []
        for kind in self.met:
            opening, closing = ("", "") if self.coloured else BRACKETS[kind]
            style = STYLES[kind] if self.coloured else ""
            entries.append(Text().append(f"{opening}text{closing}", style).append(f" {MEANINGS[kind]}", "dim"))
        signs = "⏎ ⇥ ‹…› line break, tab, what does not print"
        if self.tokenizer is None:
            signs = "numbers are ids"
        if self.boundaries:
            signs += f"; {BOUNDARY} between tokens"
        entries.append(Text(signs, "dim"))
        return legend.append_text(Text("; ", "dim").join(entries))


def _seen(piece: Piece, noised: Noised) -> Iterator[tuple[list[int], list[Kind]]]:
    """Yield the tokens that the network sees of a piece and what they are, unless it sees none."""
    if noised.ids is None or noised.times is None:
        return
    ids, kinds = [], []
    for id, kind, noise in zip(noised.ids, piece.kinds, noised.noised):
        if kind != "left out":
            ids.append(id)
            kinds.append("noise" if noise else "kept" if kind == "scored" else kind)
    yield ids, kinds


def _noise_words(piece: Piece, noised: Noised) -> str:
    if noised.times is None:
        return "the network sees nothing of it"
    low, high = noised.times
    t = f"t = {low:.3f}" if low == high else f"t = {low:.3f} … {high:.3f}"
    counts = f"{sum(noised.noised)} of {len(noised.noised)} noised, {piece.kinds.count('scored')} scored"
    if left_out := piece.kinds.count("left out"):
        counts += f", {left_out} left out"
    return f"{t}: {counts}; {noised.sight}"
