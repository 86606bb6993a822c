"""Rows of documents that are read while training, where tokenizing everything first is out of the question.

The order is the stream's own with blocks of ``shuffle_buffer`` documents shuffled, a function of (seed, epoch, block):
it needs no random state, and resuming reads on from the block's first document. The cursor is the epoch, the number of
documents before the current one in the epoch's order, and the token in it. Every rank reads the whole stream and keeps
its own rows, which makes the order independent of their number; where that is too slow, ``flowlm-make-data`` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from diffusionlm.data.batch import Batch
from diffusionlm.data.documents import Documents
from diffusionlm.data.encode import encode_document
from diffusionlm.data.order import permute
from diffusionlm.data.pieces import Pieces, render
from diffusionlm.data.rows import Packing
from diffusionlm.data.store import gather_runs
from diffusionlm.rng import key
from diffusionlm.tokenizer import Tokenizer


@dataclass(frozen=True)
class _Piece:
    """Consecutive tokens of one document, (n,), and which document and window they are."""

    tokens: np.ndarray
    document: int
    window: int


@dataclass(frozen=True)
class _Row:
    """The pieces of one row, the EOS tokens that follow, and where the stream stands after it."""

    pieces: list[_Piece]
    eos: int
    cursor: dict[str, int]


@dataclass(frozen=True)
class _Tokens:
    """What ``render`` needs of a store."""

    array: np.ndarray
    eos_id: int

    def gather(self, addresses: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return gather_runs(self.array, addresses, lengths)


class StreamLoader:
    """Sequential rows of a stream of documents.

    Args:
        documents: Read from their beginning in every epoch.
        tokenizer: Encodes them on the way.
        context_length: T, tokens in a row.
        packing: ``packed`` (documents end to end, nothing left out, also across epochs) or ``one_per_row``.
        seed: Names the order.
        eos_padding_cap: one_per_row only: EOS tokens after a document's own.
        shuffle_buffer: Documents that are shuffled together; 0 or 1 keeps the stream's order.
    """

    def __init__(
        self,
        documents: Documents,
        tokenizer: Tokenizer,
        context_length: int,
        packing: Packing = "packed",
        seed: int = 0,
        eos_padding_cap: int = 0,
        shuffle_buffer: int = 0,
    ) -> None:
        assert context_length > 0, f"context length {context_length} must be positive"
        self.documents, self.tokenizer, self.context_length = documents, tokenizer, context_length
        self.packing, self.seed, self.eos_padding_cap = packing, seed, eos_padding_cap
        self.block = max(1, shuffle_buffer)
        self.first_cursor: dict[str, int] = {"epoch": 0, "document": 0, "token": 0}

    def steps(
        self, cursor: Mapping[str, int], rows_per_step: int, first: int, count: int
    ) -> Iterator[tuple[Batch, dict[str, int]]]:
        """Yield, for ever, rows ``first`` to ``first + count`` of each step, and the cursor after that step.

        Raises:
            DataError: The stream has no documents, or cannot be read.
        """
        rows = self._packed_rows(cursor) if self.packing == "packed" else self._window_rows(cursor)
        while True:
            step = list(islice(rows, rows_per_step))
            yield self._render(step[first : first + count]), step[-1].cursor

    def epoch(self, cursor: Mapping[str, int]) -> float:
        """Return how many whole epochs have been consumed at a cursor."""
        return float(cursor["epoch"])

    def _packed_rows(self, cursor: Mapping[str, int]) -> Iterator[_Row]:
        width, used = self.context_length, 0
        pieces: list[_Piece] = []
        for at, document, tokens in self._documents(cursor):
            begin = at["token"]
            while begin < len(tokens):
                end = min(begin + width - used, len(tokens))
                # Rows begin every ``width`` tokens, so the tokens before ``begin`` fill this many pieces.
                pieces.append(_Piece(tokens[begin:end], document, -(-begin // width)))
                used += end - begin
                begin = end
                if used == width:
                    yield _Row(pieces, 0, _after(at, end, len(tokens)))
                    pieces, used = [], 0

    def _window_rows(self, cursor: Mapping[str, int]) -> Iterator[_Row]:
        width = self.context_length
        for at, document, tokens in self._documents(cursor):
            for begin in range(at["token"], len(tokens), width):
                piece = _Piece(tokens[begin : begin + width], document, begin // width)
                eos = min(width - len(piece.tokens), self.eos_padding_cap)
                yield _Row([piece], eos, _after(at, begin + width, len(tokens)))

    def _documents(self, cursor: Mapping[str, int]) -> Iterator[tuple[dict[str, int], int, np.ndarray]]:
        """Yield, for ever, where a document stands in the order, its number in the stream, and its tokens."""
        epoch, skip, token = cursor["epoch"], cursor["document"], cursor["token"]
        while True:
            for place, document, text in self._ordered(epoch, skip):
                at = {"epoch": epoch, "document": place, "token": token}
                yield at, document, encode_document(text, self.tokenizer)
                token = 0
            epoch, skip, token = epoch + 1, 0, 0

    def _ordered(self, epoch: int, skip: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield one epoch's documents from the ``skip``-th of its order on: place, number in the stream, text."""
        block = skip // self.block
        stream = islice(iter(self.documents), block * self.block, None)
        while texts := list(islice(stream, self.block)):
            order = permute(np.arange(len(texts)), len(texts), key(self.seed, f"data/stream/{epoch}/{block}"))
            base = block * self.block
            for place, index in enumerate(order.tolist()):
                if base + place >= skip:
                    yield base + place, base + index, texts[index]
            block += 1

    def _render(self, rows: list[_Row]) -> Batch:
        pieces = [piece for row in rows for piece in row.pieces]
        length = np.array([len(piece.tokens) for piece in pieces], dtype=np.int64)
        described = Pieces(
            n_rows=len(rows),
            row=np.repeat(np.arange(len(rows)), [len(row.pieces) for row in rows]),
            length=length,
            address=np.cumsum(length) - length,
            document=np.array([piece.document for piece in pieces], dtype=np.int64),
            window=np.array([piece.window for piece in pieces], dtype=np.int64),
            segment=np.concatenate([np.arange(1, len(row.pieces) + 1) for row in rows]),
            eos=np.array([row.eos for row in rows], dtype=np.int64),
        )
        tokens = _Tokens(np.concatenate([piece.tokens for piece in pieces]), self.tokenizer.eos_id)
        return render([described], tokens, self.context_length)


def _after(at: dict[str, int], token: int, length: int) -> dict[str, int]:
    """Return the cursor of the token after a piece, which is the next document's first where the document ends."""
    if token < length:
        return {**at, "token": token}
    return {**at, "document": at["document"] + 1, "token": 0}
