"""Several corpora in one global order, each with a fixed share of the tokens.

Which corpus row g comes from is read off a table of ``PERIOD`` rows that repeats: at every row, the corpus that is due
soonest among those whose share allows one more. So every corpus is within one row of its share at every prefix (Still,
"A class of new methods for Congressional apportionment", 1979; the scheduling form is Tijdeman's, "The chairman
assignment problem", 1980). A row of corpus i is the next one of its own order, with its own epochs, so row g is still a
function of (seed, g) alone, the cursor is still one integer, and any world size slices the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.data.documents import Documents
from diffusionlm.data.rows import Packing, RowLoader
from diffusionlm.data.store import TokenStore, join_stores
from diffusionlm.errors import DataError
from diffusionlm.lazy import torch

PERIOD = 10_000
"""Rows of the table: shares of rows are multiples of 1/PERIOD."""


def refuse_streamed(documents: Documents) -> None:
    """Refuse a corpus whose size is not known.

    Raises:
        DataError: It is streamed.
    """
    if documents.streaming:
        raise DataError(
            f"{documents.describe()} is streamed, and a mixture needs the size of every source; "
            "set streaming = false, or make shards of it with flowlm-make-data"
        )


class MixedDocuments(Documents):
    """The documents of several corpora, one corpus after another, and the weights they are trained with.

    Args:
        parts: The corpora; none of them streamed.
        weights: Positive, one for each; only their ratios count.
        numbers: What each is called, for scores of its own; 1, 2, ... unless given.
    """

    def __init__(
        self, parts: Sequence[Documents], weights: Sequence[float], numbers: Sequence[int] | None = None
    ) -> None:
        for part in parts:
            refuse_streamed(part)
        self.parts, self.weights = tuple(parts), tuple(weights)
        self.numbers = tuple(range(1, len(parts) + 1) if numbers is None else numbers)
        self.cacheable = all(part.cacheable for part in parts)

    def read(self) -> Iterator[bytes]:
        """Yield every document of the first corpus, then of the second, and so on."""
        for part in self.parts:
            yield from part

    @property
    def fingerprint(self) -> str:
        """The fingerprints of the corpora."""
        return "+".join(part.fingerprint for part in self.parts)

    @property
    def expected_bytes(self) -> int | None:
        """The sizes of the corpora together; unknown where one of them is."""
        sizes = [part.expected_bytes for part in self.parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def describe(self) -> str:
        """Name the corpora."""
        return " and ".join(part.describe() for part in self.parts)


class MixtureLoader(RowLoader):
    """Random access to the rows of several stores in one order.

    Documents are numbered through all stores, the first store's first, as in ``join_stores``. An epoch is as many rows
    as all stores have together; a store with more than its size's share is seen more than once in it.

    Args:
        stores: The corpora.
        weights: Shares of the tokens, positive, one for each store; only their ratios count.
        context_length, packing, seed, eos_padding_cap, compiled: As for ``RowLoader``.

    Raises:
        DataError: A weight comes to less than one row in PERIOD.
    """

    def __init__(
        self,
        stores: Sequence[TokenStore],
        weights: Sequence[float],
        context_length: int,
        packing: Packing = "packed",
        seed: int = 0,
        eos_padding_cap: int = 0,
        compiled: bool | None = None,
    ) -> None:
        super().__init__(join_stores(stores), context_length, packing, seed, eos_padding_cap, compiled)
        self.parts = [RowLoader(s, context_length, packing, seed, eos_padding_cap, compiled) for s in stores]
        self.first_documents = np.cumsum([0, *(store.n_documents for store in stores)])
        # Rows of one store hold fewer tokens than another's (short documents, one in each row): more rows then.
        tokens = [min(part.store.n_tokens / part.rows_per_epoch, context_length) for part in self.parts]
        largest = max(weights)  # or the smallest and the largest numbers there are would not add up
        self.quotas = row_quotas([weight / largest / each for weight, each in zip(weights, tokens, strict=True)])
        self.rows_per_epoch = sum(part.rows_per_epoch for part in self.parts)
        self._table = interleave(self.quotas)
        self._before = np.stack([np.cumsum(self._table == i) - (self._table == i) for i in range(len(stores))])

    def places(self, row_indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which store each row (B,) comes from and its number in that store's own order, both int64."""
        turns, within = np.divmod(np.asarray(row_indices, dtype=np.int64), PERIOD)
        source = self._table[within]
        return source, turns * self.quotas[source] + self._before[source, within]

    def batch(self, row_indices: np.ndarray) -> Batch:
        """Return rows of the global order; see ``RowLoader.batch``."""
        source, own = self.places(row_indices)
        order = np.argsort(source, kind="stable")
        batches = []
        for i in np.unique(source).tolist():
            part = self.parts[i].batch(own[source == i])
            part.document.add_((part.segments > 0) * int(self.first_documents[i]))
            batches.append(part)
        back = torch.from_numpy(np.argsort(order))
        joined = concatenate(batches)
        return Batch(**{f.name: vars(joined)[f.name][back] for f in fields(Batch)})


def row_quotas(weights: Sequence[float]) -> np.ndarray:
    """Return how many of PERIOD rows each weight comes to, (S,) int64: the largest remainders are rounded up.

    Raises:
        DataError: A weight comes to none.
    """
    exact = np.array(weights, dtype=np.float64) / sum(weights) * PERIOD
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")[: PERIOD - int(quotas.sum())]
    quotas[largest] += 1
    if (quotas == 0).any():
        raise DataError(
            f"source {int(quotas.argmin()) + 1} of the mixture comes to less than one row in {PERIOD}; raise its "
            "weight or leave it out"
        )
    return quotas


def interleave(quotas: np.ndarray) -> np.ndarray:
    """Return the order of sum(quotas) rows, int64 source numbers: each source within one row of its share throughout.

    A source's n-th row may come once its share has passed n - 1 rows, and is due before it passes n; the one that is
    due soonest comes first.
    """
    total = int(quotas.sum())
    done = np.zeros(len(quotas), dtype=np.int64)
    table = np.empty(total, dtype=np.int64)
    for row in range(total):
        # Row ``row`` is the (done + 1)-th of a source: allowed when done / share <= row + 1, strictly before the bound.
        allowed = done * total < quotas * (row + 1)
        due = -(-(done + 1) * total // quotas)
        table[row] = np.where(allowed, due, total * total + 1).argmin()
        done[table[row]] += 1
    return table
