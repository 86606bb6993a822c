"""Tokenize documents into a folder of shards, with several processes, whatever their number with the same bytes.

Memory holds one shard, some documents on their way, and for each finished shard its header; never the corpus. Whatever
ends the work, finished shards stay and can be gone on from: see ``journal.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusionlm.data.deduplicate import UniqueDocuments
from diffusionlm.data.encode import EncodedDocuments, content_fingerprint, encode_documents
from diffusionlm.data.journal import SHARDS, FinishedShard, Journal, continue_journal
from diffusionlm.data.resume import JOURNAL, documents_after
from diffusionlm.data.shards import INDEX, TOKENIZER_FOLDER, read_shard, remove_temporaries, write_index, write_shard
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import Tokenizer, save_whole

SHARD_TOKENS = 1 << 26


@dataclass(frozen=True)
class MadeData:
    """What ``make_data`` wrote.

    Attributes:
        folder: Where.
        n_shards, n_documents, n_tokens, n_bytes: Totals; a document that was left out as a copy counts in none.
        n_duplicates: Copies left out.
        digest_bytes: Memory that finding them took.
        fingerprint: Which documents in which order, and by which tokenizer.
    """

    folder: Path
    n_shards: int
    n_documents: int
    n_tokens: int
    n_bytes: int
    n_duplicates: int
    digest_bytes: int
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
    deduplicate: bool = False,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> MadeData:
    """Write documents as token shards.

    Args:
        documents: The documents; empty ones are left out.
        tokenizer: Encodes them; its files go beside the shards.
        folder: The output; it must be empty or not exist, or be resumed.
        shard_tokens: Most tokens in one shard; a document that is longer has a shard of its own.
        workers: Processes that tokenize; 0 is one for each core.
        deduplicate: Leave out documents that have come before, byte by byte.
        resume: Go on with what an earlier call left in the folder, if it left something. The documents are then read
            from their start, and those in finished shards are not tokenized again.
        settings: What else decides the shards' bytes, by name (JSON values); resuming with other ones is refused.
        progress: Told how far the work is.

    Raises:
        DataError: The folder is not empty, there are no documents, or what should go on does not fit.
        OSError: The disk is full or not writable. Finished shards stay; where there are none, nothing does.
    """
    own = {"shard_tokens": shard_tokens, "deduplicate": deduplicate, "tokenizer": tokenizer.fingerprint()}
    settings = {**(settings or {}), **own}
    journal = continue_journal(folder, settings) if resume else None
    if journal is not None and journal.duplicates is not None and (folder / INDEX).is_file():
        return _made(journal, journal.duplicates, 0)
    existed = False
    if journal is None:
        existed = claim_empty(folder)
        journal = Journal(folder, settings)
    try:
        return _go_on(documents, tokenizer, journal, shard_tokens, workers, deduplicate, progress)
    except BaseException:
        if not journal.shards:
            remove_output(folder, existed)
        raise


def claim_empty(folder: Path) -> bool:
    """Make the output folder; return whether it was there, empty, before.

    Raises:
        DataError: It holds something, is a file, or cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"output {str(folder)!r} is a file; give a folder that is empty or does not exist")
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"output folder {str(folder)!r} is not empty; choose another one or empty it")
    existed = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # what /proc says of any folder
        raise DataError(f"output folder {str(folder)!r} cannot be made there; choose another place") from error
    return existed


def remove_output(folder: Path, existed: bool) -> None:
    """Remove what ``make_data`` writes; the folder too if that empties it, unless it was there before."""
    for name in (INDEX, JOURNAL):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TOKENIZER_FOLDER, ignore_errors=True)
    remove_temporaries(folder)
    for file in folder.glob("shard-*.bin"):
        file.unlink(missing_ok=True)
    if not existed and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _go_on(
    documents: Iterable[bytes],
    tokenizer: Tokenizer,
    journal: Journal,
    shard_tokens: int,
    workers: int,
    deduplicate: bool,
    progress: Progress | None,
) -> MadeData:
    """Write the shards that are not in the journal yet."""
    journal.save()
    save_whole(tokenizer, journal.folder / TOKENIZER_FOLDER)
    texts = (document for document in documents if document)
    unique = UniqueDocuments(texts) if deduplicate else None
    last = journal.shards[-1].last_document if journal.shards else None
    given = texts if unique is None else unique
    rest = documents_after(given, journal.n_documents, last, journal.folder, SHARDS)
    identity = {"tokenizer": tokenizer.fingerprint(), "vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    with closing(encode_documents(rest, tokenizer, workers)) as encoded:
        for parts in _shards(_reported(encoded, journal, progress), shard_tokens):
            name = f"shard-{len(journal.shards):05d}.bin"
            header = write_shard(journal.folder / name, parts, **identity)
            journal.add(FinishedShard(name, header, int(parts[-1].hashes[-1])))
            parts.clear()  # or the tokens would stay until the next shard is full
    if not journal.shards:
        raise DataError("there are no documents to write; give a source with at least one document")
    journal.finish(0 if unique is None else unique.dropped)
    made = _made(journal, journal.duplicates or 0, 0 if unique is None else unique.seen.nbytes)
    write_index(journal.folder, [shard.file for shard in journal.shards], journal.headers, made.fingerprint)
    return made


def _made(journal: Journal, duplicates: int, digest_bytes: int) -> MadeData:
    """Return the totals of a journal whose shards are all there; their hashes are read one shard at a time."""
    hashes = (read_shard(journal.folder / shard.file, verify=False).hashes for shard in journal.shards)
    counts = journal.n_documents, journal.n_tokens
    fingerprint = content_fingerprint(journal.headers[0].tokenizer, hashes, *counts)
    return MadeData(
        journal.folder, len(journal.shards), *counts, journal.n_bytes, duplicates, digest_bytes, fingerprint
    )


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


def _reported(
    encoded: Iterable[EncodedDocuments], journal: Journal, progress: Progress | None
) -> Iterator[EncodedDocuments]:
    documents, tokens, size = journal.n_documents, journal.n_tokens, journal.n_bytes
    for batch in encoded:
        documents += len(batch.lengths)
        tokens += len(batch.tokens)
        size += int(batch.sizes.sum())
        yield batch
        if progress is not None:
            progress(documents, tokens, size)
