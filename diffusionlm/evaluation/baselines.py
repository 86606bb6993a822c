"""What every likelihood is printed beside: uniform, unigram and bigram models of bytes, and a unigram model of tokens.

A byte model has 257 symbols, the bytes and the end of a document. It is fitted on the training split and scored on the
evaluated documents exactly as a model is: bits of all bytes *and* of each document's end, divided by the bytes.

    uniform    p(b) = 1/257
    unigram    p(b) = (c(b) + α) / (Σ c + 257·α),                  α = 1     (Laplace)
    bigram     p(b | a) = (c(a, b) + β·p(b)) / (c(a) + β),         β = 16    (Dirichlet prior at the unigram)
    token      p(i) = (c(i) + α) / (Σ c + K·α),                    α = 1

Every document starts after the end symbol of the one before. The bigram's prior is that of MacKay and Peto, "A
hierarchical Dirichlet language model", 1995; β is fixed, not fitted: between 1 and 256 it moves the result on the
standard library's source (30 MB) by 0.0007 bits per byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from diffusionlm.errors import CheckpointError, DataError
from diffusionlm.lazy import torch

SYMBOLS = 257
END = 256
ALPHA = 1.0
BETA = 16.0
_BLOCK = 1 << 22
_PAIRS, _TOKENS = "byte_pairs", "tokens"


@dataclass(frozen=True)
class ByteCounts:
    """How often each byte follows each other in some documents.

    Attributes:
        pairs: (257, 257) int64; entry [a, b] counts b after a, with 256 the end of a document and, as a, its start.
        tokens: (K,) int64 counts of token ids, or ``None`` if they were not counted.
    """

    pairs: np.ndarray
    tokens: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        """Bytes counted, ends of documents left out."""
        return int(self.pairs[:, :END].sum())

    @property
    def documents(self) -> int:
        """Documents counted."""
        return int(self.pairs[:, END].sum())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the counts as tensors by name, for a checkpoint."""
        named = {_PAIRS: torch.from_numpy(self.pairs)}
        return named if self.tokens is None else {**named, _TOKENS: torch.from_numpy(self.tokens)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> ByteCounts:
        """Return the counts that ``tensors`` gave.

        Raises:
            CheckpointError: They are not byte counts.
        """
        if _PAIRS not in tensors or tuple(tensors[_PAIRS].shape) != (SYMBOLS, SYMBOLS):
            raise CheckpointError(
                "the checkpoint's byte counts have another shape; open it with the flowlm that wrote it"
            )
        return cls(tensors[_PAIRS].numpy(), tensors[_TOKENS].numpy() if _TOKENS in tensors else None)


@dataclass(frozen=True)
class BaselineReport:
    """What models without a network need for the same documents, in bits per byte (ends of documents included).

    Attributes:
        uniform, unigram, bigram: Byte models; the last two fitted on the training split.
        token_unigram: The unigram model of tokens, or ``None`` without token counts.
        bytes, documents: What was scored.
    """

    uniform: float
    unigram: float
    bigram: float
    token_unigram: float | None
    bytes: int
    documents: int


def count_bytes(documents: Iterable[bytes]) -> ByteCounts:
    """Return the byte pair counts of documents, in one pass with bounded memory."""
    pairs = np.zeros(SYMBOLS * SYMBOLS, dtype=np.int64)
    for block in _blocks(documents):
        joined = np.frombuffer(bytes(1).join(block) + bytes(1), dtype=np.uint8).astype(np.int64)  # 0 where one ends
        joined[np.cumsum([len(document) + 1 for document in block]) - 1] = END
        before = np.concatenate(([END], joined[:-1]))
        pairs += np.bincount(before * SYMBOLS + joined, minlength=SYMBOLS * SYMBOLS)
    return ByteCounts(pairs.reshape(SYMBOLS, SYMBOLS))


def _blocks(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Group documents into lists of a few megabytes; a document longer than that is a list of its own."""
    block: list[bytes] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document) + 1
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def count_tokens(arrays: Iterable[np.ndarray], vocabulary: int) -> np.ndarray:
    """Return how often each id occurs, (K,) int64.

    Args:
        arrays: Token ids, end-of-document included, in arrays of any unsigned or signed integer dtype.
        vocabulary: K.
    """
    counts = np.zeros(vocabulary, dtype=np.int64)
    for ids in arrays:
        for start in range(0, len(ids), _BLOCK):
            counts += np.bincount(ids[start : start + _BLOCK].astype(np.int64), minlength=vocabulary)
    return counts


def unigram_bits(counts: np.ndarray) -> np.ndarray:
    """Return −log2 p of every symbol, (S,) float64, of the smoothed unigram model of (S,) counts."""
    return np.log2(counts.sum() + ALPHA * counts.size) - np.log2(counts + ALPHA)


def bigram_bits(pairs: np.ndarray) -> np.ndarray:
    """Return −log2 p(b | a), (257, 257) float64, of the smoothed bigram model of (257, 257) counts."""
    prior = np.exp2(-unigram_bits(pairs.sum(axis=0)))
    return np.log2(pairs.sum(axis=1, keepdims=True) + BETA) - np.log2(pairs + BETA * prior)


def score_baselines(fitted: ByteCounts, scored: ByteCounts) -> BaselineReport:
    """Return the bits per byte of every baseline.

    Args:
        fitted: Counts of the training split.
        scored: Counts of the evaluated documents (``count_bytes``, and ``count_tokens`` of the same documents).

    Raises:
        DataError: The evaluated documents hold no bytes.
    """
    if scored.bytes == 0:
        raise DataError("the evaluated text holds no bytes; give one with at least one document")

    def per_byte(counts: np.ndarray, bits: np.ndarray) -> float:
        return float((counts * bits).sum()) / scored.bytes

    symbols = scored.pairs.sum(axis=0)
    both = fitted.tokens is not None and scored.tokens is not None
    return BaselineReport(
        uniform=math.log2(SYMBOLS) * float(symbols.sum()) / scored.bytes,
        unigram=per_byte(symbols, unigram_bits(fitted.pairs.sum(axis=0))),
        bigram=per_byte(scored.pairs, bigram_bits(fitted.pairs)),
        token_unigram=per_byte(scored.tokens, unigram_bits(fitted.tokens)) if both else None,  # type: ignore[arg-type]
        bytes=scored.bytes,
        documents=scored.documents,
    )
