"""Batches of documents for tests: packed in rows by hand, or one to a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.rng import Draws


def lay_rows(rows: Sequence[Sequence[tuple[int, Sequence[int]]]], length: int, frozen: int = 0) -> Batch:
    """Return rows of documents.

    Args:
        rows: For each row its documents: (index of the document, its tokens).
        length: T; what the documents do not fill is padding.
        frozen: So many tokens at the head of each document are given.
    """
    shape = (len(rows), length)
    x, segments, positions, document, held = (torch.zeros(shape, dtype=torch.int64) for _ in range(5))
    for b, row in enumerate(rows):
        at = 0
        for number, (index, tokens) in enumerate(row, 1):
            site = (b, slice(at, at + len(tokens)))
            x[site], segments[site] = torch.as_tensor(tokens), number
            positions[site], document[site] = torch.arange(len(tokens)), index
            held[site] = (torch.arange(len(tokens)) < frozen).long()
            at += len(tokens)
        assert at <= length, f"{at} tokens in a row of {length}"
    return Batch(x, segments, positions, document, torch.zeros_like(x), held.bool())


def random_documents(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> list[tuple[int, list[int]]]:
    """Return documents (index, tokens) of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (index, torch.randint(0, vocabulary, (length,), generator=generator).tolist())
        for index, length in enumerate(lengths)
    ]


def draws_of(batch: Batch, seed: int = 0, step: int = 0) -> Draws:
    """Return the random numbers of a batch."""
    return Draws(seed, step, batch.document, batch.window, batch.positions)
