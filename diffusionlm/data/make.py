"""Tokenize documents into a folder of shards, with several processes, whatever their number with the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionlm.data.encode import EncodedDocuments, content_fingerprint, encode_documents
from diffusionlm.data.shards import INDEX, TOKENIZER_FOLDER, ShardHeader, write_index, write_shard
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import Tokenizer

SHARD_TOKENS = 1 << 26


@dataclass(frozen=True)
class MadeData:
    """What ``make_data`` wrote, or has written so far."""

    folder: Path
    n_shards: int
    n_documents: int
    n_tokens: int
    n_bytes: int
    fingerprint: str


Progress = Callable[[int, int, int], None]
"""Called after each batch of documents with the documents, tokens and text bytes done so far."""


def make_data(
    documents: Iterable[bytes],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
    progress: Progress | None = None,
) -> MadeData:
    """Write documents as token shards.

    Args:
        documents: The documents; empty ones are left out.
        tokenizer: Encodes them; its files go beside the shards.
        folder: The output; it must be empty or not exist.
        shard_tokens: Most tokens in one shard; a document that is longer has a shard of its own.
        workers: Processes that tokenize.
        progress: Told how far the work is.

    Raises:
        DataError: The folder is not empty, or there are no documents.
        OSError: The disk is full or not writable. What was written is removed.
    """
    existed = claim_empty(folder)
    try:
        tokenizer.save(folder / TOKENIZER_FOLDER)
        encoded = encode_documents((document for document in documents if document), tokenizer, workers)
        return _write(_reported(encoded, progress), tokenizer, folder, shard_tokens)
    except BaseException:
        _remove_output(folder, existed)
        raise


def claim_empty(folder: Path) -> bool:
    """Make the output folder; return whether it was there, empty, before.

    Raises:
        DataError: It holds something, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"output {str(folder)!r} is a file; give a folder that is empty or does not exist")
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"output folder {str(folder)!r} is not empty; choose another one or empty it")
    existed = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return existed


def _write(encoded: Iterable[EncodedDocuments], tokenizer: Tokenizer, folder: Path, shard_tokens: int) -> MadeData:
    names: list[str] = []
    headers: list[ShardHeader] = []
    hashes: list[np.ndarray] = []
    identity = {"tokenizer": tokenizer.fingerprint(), "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    for parts in _shards(encoded, shard_tokens):
        names.append(f"shard-{len(names):05d}.bin")
        headers.append(write_shard(folder / names[-1], parts, **identity))
        hashes.extend(part.hashes for part in parts)
    if not headers:
        raise DataError("there are no documents to write; give a source with at least one document")
    n_tokens = sum(header.n_tokens for header in headers)
    all_hashes = np.concatenate(hashes)
    fingerprint = content_fingerprint(identity["tokenizer"], all_hashes, n_tokens)
    write_index(folder, names, headers, fingerprint)
    n_bytes = sum(header.n_bytes for header in headers)
    return MadeData(folder, len(names), len(all_hashes), n_tokens, n_bytes, fingerprint)


def _shards(encoded: Iterable[EncodedDocuments], shard_tokens: int) -> Iterator[list[EncodedDocuments]]:
    """Group documents into shards; where one ends depends on the documents alone, not on how they arrive."""
    parts: list[EncodedDocuments] = []
    held = 0
    for batch in encoded:
        begin = 0
        ends = np.cumsum(batch.lengths)
        while begin < len(ends):
            done = int(ends[begin - 1]) if begin else 0
            end = int(np.searchsorted(ends, done + shard_tokens - held, side="right"))
            if end == begin and not parts:
                end += 1  # one document that is longer than a shard
            if end > begin:
                parts.append(_slice(batch, begin, end, ends))
                held += len(parts[-1].tokens)
                begin = end
            if begin < len(ends):  # the next document does not fit
                yield parts
                parts, held = [], 0
    if parts:
        yield parts


def _slice(batch: EncodedDocuments, begin: int, end: int, ends: np.ndarray) -> EncodedDocuments:
    first = int(ends[begin - 1]) if begin else 0
    return EncodedDocuments(
        batch.tokens[first : int(ends[end - 1])],
        batch.lengths[begin:end],
        batch.sizes[begin:end],
        batch.hashes[begin:end],
    )


def _reported(encoded: Iterable[EncodedDocuments], progress: Progress | None) -> Iterator[EncodedDocuments]:
    documents = tokens = size = 0
    for batch in encoded:
        yield batch
        documents, tokens, size = (
            documents + len(batch.lengths),
            tokens + len(batch.tokens),
            size + int(batch.sizes.sum()),
        )
        if progress is not None:
            progress(documents, tokens, size)


def _remove_output(folder: Path, existed: bool) -> None:
    """Remove what this call wrote: the folder was empty before."""
    (folder / INDEX).unlink(missing_ok=True)
    shutil.rmtree(folder / TOKENIZER_FOLDER, ignore_errors=True)
    for file in folder.glob("shard-*.bin"):
        file.unlink(missing_ok=True)
    if not existed:
        shutil.rmtree(folder, ignore_errors=True)
