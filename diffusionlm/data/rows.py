"""Rows of a token store in one global order that is a function of (seed, epoch) alone.

An epoch has R rows; row g of the run is row permutation_e(g mod R) of epoch e = g div R. So the cursor is one integer,
any world size slices the same order, and any row can be made without the rows before it.

``packed``: an epoch permutes the documents, puts them end to end in a circle, and cuts the circle into R = max(1, N div
T) rows of T tokens from a random offset in [0, T). Each piece of a document in a row is a segment of its own. The tail
rule: the N mod T tokens that do not fill a row are left out of that epoch, other ones in every epoch, none for ever.
With N <= T the one row begins with a document and holds all N tokens, then padding.

``one_per_row``: each row is a window of T tokens of one document. A document's last window goes on with EOS tokens, at
most ``eos_padding_cap`` of them, then padding: a capped number keeps the model from learning mostly to predict EOS, and
the length of the canvas stays an input of generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np

from diffusionlm.data.batch import Batch
from diffusionlm.data.order import permute
from diffusionlm.data.pieces import Pieces, render
from diffusionlm.data.store import TokenStore
from diffusionlm.rng import key
from diffusionlm.tokenizer.compiled import available

Packing = Literal["packed", "one_per_row"]
COMPILED_FROM = 1 << 24
"""Tokens of a store from which rows are made by compiled code; the rows do not depend on it."""
_TOKENS_TOGETHER = 1 << 18


@dataclass(frozen=True)
class _Circle:
    """The documents of one epoch, end to end; the first ones again at the end, so that no row wraps around.

    Attributes:
        documents: (D + m,) int64 document indices in the epoch's order.
        starts: (D + m + 1,) int64, where each begins on the line, and the end of the last.
        offset: Where row 0 begins.
    """

    documents: np.ndarray
    starts: np.ndarray
    offset: int


class RowLoader:
    """Random access to the rows of a store.

    Args:
        store: The documents.
        context_length: T, tokens in a row.
        packing: ``packed`` or ``one_per_row``.
        seed: Names the order.
        eos_padding_cap: one_per_row only: EOS tokens after a document's own.
        compiled: Whether compiled code makes the rows; None decides by the size of the store. The rows are the same.

    Attributes:
        rows_per_epoch: R.
        rows_in_order: Rows of one pass of ``in_order``.
        first_cursor: The cursor of a fresh run.
    """

    def __init__(
        self,
        store: TokenStore,
        context_length: int,
        packing: Packing = "packed",
        seed: int = 0,
        eos_padding_cap: int = 0,
        compiled: bool | None = None,
    ) -> None:
        assert store.n_documents > 0, "a store without documents has no rows"
        assert context_length > 0, f"context length {context_length} must be positive"
        self.store, self.context_length, self.packing, self.seed = store, context_length, packing, seed
        self.eos_padding_cap = eos_padding_cap
        if compiled is None:
            compiled = store.n_tokens >= COMPILED_FROM and available()
        self._place = store.place if compiled else None
        if packing == "packed":
            self.rows_per_epoch = max(1, store.n_tokens // context_length)
            self.rows_in_order = -(-store.n_tokens // context_length)
            self._window_ends = np.empty(0, dtype=np.int64)
        else:
            self._window_ends = np.cumsum(-(-store.lengths // context_length))
            self.rows_per_epoch = self.rows_in_order = int(self._window_ends[-1])
        self.first_cursor: dict[str, int] = {"row": 0}
        self._circle = lru_cache(maxsize=2)(self._make_circle)  # two, for a batch across the end of an epoch

    def batch(self, row_indices: np.ndarray) -> Batch:
        """Return rows of the global order.

        Args:
            row_indices: (B,) row numbers since the start of the run, not negative, in any order.
        """
        row_indices = np.asarray(row_indices, dtype=np.int64)
        epochs, rows = np.divmod(row_indices, self.rows_per_epoch)
        pieces = []
        # Runs of one epoch; a batch that reaches over the end of an epoch has two.
        edges = [0, *(np.flatnonzero(np.diff(epochs)) + 1).tolist(), len(epochs)]
        for begin, end in pairwise(edges):
            if begin < end:
                shuffled = permute(rows[begin:end], self.rows_per_epoch, self._key("rows", int(epochs[begin])))
                pieces.append(self._pieces(shuffled, int(epochs[begin]), self.eos_padding_cap))
        return render(pieces, self.store, self.context_length, self._place)

    def in_order(self, row_indices: np.ndarray) -> Batch:
        """Return unshuffled rows: all of them together hold every token of every document exactly once.

        Args:
            row_indices: (B,) numbers in [0, rows_in_order).
        """
        row_indices = np.asarray(row_indices, dtype=np.int64)
        inside = row_indices.size == 0 or (row_indices.min() >= 0 and row_indices.max() < self.rows_in_order)
        assert inside, f"rows {row_indices} must lie in [0, {self.rows_in_order})"
        return render([self._pieces(row_indices, None, 0)], self.store, self.context_length, self._place)

    def steps(
        self, cursor: Mapping[str, int], rows_per_step: int, first: int, count: int
    ) -> Iterator[tuple[Batch, dict[str, int]]]:
        """Yield, for ever, rows ``first`` to ``first + count`` of each step, and the cursor after that step.

        Args:
            cursor: Where to begin: ``{"row": rows consumed}``.
            rows_per_step: Rows of a step over all ranks.
            first, count: This rank's rows within each step.
        """
        row = cursor["row"]
        # Small steps are made several at a time, within about an epoch: beginning to make rows costs more than a row.
        together = min(_TOKENS_TOGETHER // (count * self.context_length), self.rows_per_epoch // rows_per_step, 64)
        together = max(1, together)
        while True:
            begins = row + rows_per_step * np.arange(together)
            batch = self.batch((begins[:, None] + np.arange(first, first + count)).reshape(-1))
            for step in range(together):
                row += rows_per_step
                yield batch.rows(step * count, (step + 1) * count), {"row": row}

    def epoch(self, cursor: Mapping[str, int]) -> float:
        """Return how many epochs have been consumed at a cursor, as a real number."""
        return cursor["row"] / self.rows_per_epoch

    def _key(self, what: str, epoch: int) -> int:
        return key(self.seed, f"data/{what}/{epoch}")

    def _pieces(self, rows: np.ndarray, epoch: int | None, eos_cap: int) -> Pieces:
        """Describe rows of one epoch (None: in order)."""
        if self.packing == "one_per_row":
            return self._window_pieces(rows, eos_cap)
        return self._packed_pieces(rows, self._circle(epoch))

    def _make_circle(self, epoch: int | None) -> _Circle:
        lengths, n = self.store.lengths, self.store.n_documents
        if epoch is None:
            return _Circle(np.arange(n, dtype=np.int64), np.concatenate(([0], np.cumsum(lengths))), 0)
        order = permute(np.arange(n, dtype=np.int64), n, self._key("documents", epoch))
        fits = self.store.n_tokens <= self.context_length
        offset = 0 if fits else self._key("offset", epoch) % self.context_length
        ends = np.cumsum(lengths[order])
        again = int(np.searchsorted(ends, offset)) + 1  # documents that hold the first ``offset`` tokens
        order = np.concatenate((order, order[:again]))
        starts = np.concatenate(([0], ends, ends[:again] + ends[-1]))
        return _Circle(order, starts, int(offset))

    def _packed_pieces(self, rows: np.ndarray, circle: _Circle) -> Pieces:
        """Cut rows (B,) out of the circle, all at once; P pieces in total."""
        width = self.context_length
        begin = circle.offset + rows * width  # (B,)
        end = np.minimum(begin + width, circle.offset + self.store.n_tokens)
        slot_first = np.searchsorted(circle.starts, begin, side="right") - 1
        slot_last = np.searchsorted(circle.starts, end, side="left") - 1
        counts = slot_last - slot_first + 1
        row = np.repeat(np.arange(len(rows)), counts)  # (P,)
        segment = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        slot = np.repeat(slot_first, counts) + segment - 1
        piece_begin = np.maximum(circle.starts[slot], begin[row])
        piece_end = np.minimum(circle.starts[slot + 1], end[row])
        document = circle.documents[slot]
        return Pieces(
            n_rows=len(rows),
            row=row,
            length=piece_end - piece_begin,
            address=self.store.starts[document] + piece_begin - circle.starts[slot],
            document=document,
            # Rows since the one in which the document began; floor division, for a document that began before row 0.
            window=rows[row] - (circle.starts[slot] - circle.offset) // width,
            segment=segment,
            eos=np.zeros(len(rows), dtype=np.int64),
        )

    def _window_pieces(self, rows: np.ndarray, eos_cap: int) -> Pieces:
        """Describe rows (B,) that hold one window of one document each."""
        width = self.context_length
        document = np.searchsorted(self._window_ends, rows, side="right")
        windows = -(-self.store.lengths[document] // width)
        window = rows - (self._window_ends[document] - windows)
        length = np.minimum(self.store.lengths[document] - window * width, width)
        return Pieces(
            n_rows=len(rows),
            row=np.arange(len(rows)),
            length=length,
            address=self.store.starts[document] + window * width,
            document=document,
            window=window,
            segment=np.ones(len(rows), dtype=np.int64),
            eos=np.minimum(width - length, eos_cap),
        )
