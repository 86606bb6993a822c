"""Rows described as pieces of documents, and their rendering into tensors.

``render`` has two ways to the same columns: a handful of vectorised operations, the reference, and ``compiled.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diffusionlm.data.batch import Batch
from diffusionlm.lazy import torch


@dataclass(frozen=True)
class Pieces:
    """P pieces of documents that fill B rows from the left, in row order; arrays are (P,) int64 unless said otherwise.

    Attributes:
        n_rows: B.
        row: The row of each piece.
        length: Tokens, at least 1.
        address: Where the tokens begin in the store.
        document, window, segment: As in ``Batch``.
        eos: (B,) int64, EOS tokens that follow the row's last piece, in the same segment.
    """

    n_rows: int
    row: np.ndarray
    length: np.ndarray
    address: np.ndarray
    document: np.ndarray
    window: np.ndarray
    segment: np.ndarray
    eos: np.ndarray


class Tokens(Protocol):
    """Where the tokens of pieces lie: a ``TokenStore``, or the tokens at hand of a stream."""

    @property
    def eos_id(self) -> int:
        """The token that ends a document, and fills what is padding."""
        ...

    def gather(self, addresses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return runs of tokens, (P,) addresses and lengths, end to end as int64."""
        ...


Place = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]
"""Writes runs of tokens, (P,) addresses and lengths, from (P,) places on into an int64 array: ``TokenStore.place``."""


def render(groups: list[Pieces], store: Tokens, width: int, place: Place | None = None) -> Batch:
    """Return the rows of all groups, one after another, as a batch of ``width`` columns; the rest is padding.

    Args:
        groups: The pieces, with rows counted from 0 in each group.
        store: The tokens.
        width: T.
        place: Makes the rows by compiled code, and by it their tokens; None is the reference. The result is the same.
    """
    n_rows = sum(group.n_rows for group in groups)
    pieces = groups[0] if len(groups) == 1 else _join(groups)
    used = np.bincount(pieces.row, weights=pieces.length, minlength=n_rows).astype(np.int64)
    if place is not None:
        columns = _render_compiled(pieces, place, store.eos_id, used, width)
    elif (used == width).all():
        columns = _render_full(pieces, store)
    else:
        columns = _render_ragged(pieces, store, used, width)
    x_1, segments, positions, document, window = (torch.from_numpy(c.reshape(n_rows, width)) for c in columns)
    # NumPy's zeros, not torch's: one parallel torch operation in the prefetch thread gives it a team of OpenMP threads
    # of its own, and with more of them than cores every operation of the training thread waits for its team to wake.
    frozen = torch.from_numpy(np.zeros((n_rows, width), dtype=np.bool_))
    return Batch(x_1, segments, positions, document, window, frozen)


def _render_compiled(pieces: Pieces, place: Place, eos_id: int, used: np.ndarray, width: int) -> tuple[np.ndarray, ...]:
    """Return the five columns, each (B, T) int64: what ``_render_full`` and ``_render_ragged`` return."""
    from diffusionlm.data.compiled import place_labels, place_tails

    assert (used + pieces.eos <= width).all(), f"rows of {used + pieces.eos} tokens do not fit {width} columns"
    columns = tuple(np.empty((5, pieces.n_rows, width), dtype=np.int64))  # one piece of memory: it can have large pages
    x_1, *labels = (column.reshape(-1) for column in columns)
    lengths = pieces.length
    # Where a piece goes: behind what its row already holds, in a row of ``width`` columns.
    places = np.cumsum(lengths) - lengths + (np.arange(pieces.n_rows) * width - np.cumsum(used) + used)[pieces.row]
    place(pieces.address, lengths, places, x_1)
    place_labels(places, lengths, pieces.segment, pieces.document, pieces.window, *labels)
    if not (used == width).all():
        place_tails(used, pieces.eos, eos_id, *columns)
    return columns


def _render_full(pieces: Pieces, store: Tokens) -> tuple[np.ndarray, ...]:
    """Return x_1, segments, positions, document and window, each (sum of lengths,) int64, for rows without padding."""
    lengths = pieces.length
    begin = np.cumsum(lengths) - lengths
    flat = np.arange(int(lengths.sum()), dtype=np.int64)
    x_1 = store.gather(pieces.address, lengths)
    positions = flat - np.repeat(begin, lengths)
    segments, document, window = (np.repeat(a, lengths) for a in (pieces.segment, pieces.document, pieces.window))
    return x_1, segments, positions, document, window


def _render_ragged(pieces: Pieces, store: Tokens, used: np.ndarray, width: int) -> tuple[np.ndarray, ...]:
    """The same for rows that end with EOS tokens or padding: render the tokens, then place them into full rows."""
    assert (used + pieces.eos <= width).all(), f"rows of {used + pieces.eos} tokens do not fit {width} columns"
    filled = np.arange(width) < used[:, None]  # (B, T)
    placed = []
    for values, padding in zip(_render_full(pieces, store), (store.eos_id, 0, 0, 0, 0), strict=True):
        column = np.full(filled.shape, padding, dtype=np.int64)
        column[filled] = values
        placed.append(column)
    x_1, segments, positions, document, window = placed
    rows, columns = np.nonzero(~filled & (np.arange(width) < (used + pieces.eos)[:, None]))
    last = used[rows] - 1
    segments[rows, columns] = segments[rows, last]
    positions[rows, columns] = positions[rows, last] + columns - last
    document[rows, columns] = document[rows, last]
    window[rows, columns] = window[rows, last]
    return x_1, segments, positions, document, window


def _join(groups: list[Pieces]) -> Pieces:
    first_rows = np.cumsum([0, *(group.n_rows for group in groups)])
    fields = ("length", "address", "document", "window", "segment", "eos")
    joined = {name: np.concatenate([vars(group)[name] for group in groups]) for name in fields}
    row = np.concatenate([group.row + first for group, first in zip(groups, first_rows)])
    return Pieces(n_rows=int(first_rows[-1]), row=row, **joined)
