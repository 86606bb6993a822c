"""What a tokenizer's training knows of its corpus, on the disk: the words so far and how far it has read.

``words.bin`` in the output folder is replaced, whole, now and then, and removed when the tokenizer is there. A line
with the SHA-256 of all that follows, a line of JSON (``documents``, ``bytes``, ``last_document``, ``words``), and then
the words: their bytes end to end, their lengths and their counts, both as little-endian int64. Counts do not depend on
how a corpus is cut into parts, so the cursor is a number of documents: the first so many have been counted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusionlm.data.resume import Kind, read_record, write_record
from diffusionlm.data.shards import write_atomically
from diffusionlm.errors import DataError
from diffusionlm.tokenizer.training import Words

WORDS = "words.bin"
TOKENIZER = Kind(
    "flowlm-tokenizer-journal", "the tokenizer", "it was begun with", "was counted last", "train the tokenizer again"
)


@dataclass(frozen=True)
class Making:
    """What the journal of a tokenizer's folder holds.

    Attributes:
        settings: All that decides the tokenizer, by name; JSON values.
        finished: Whether its files are there.
    """

    settings: dict[str, Any]
    finished: bool


@dataclass(frozen=True)
class Counted:
    """The words of the first documents of a corpus.

    Attributes:
        documents: How many documents.
        size: Their bytes.
        last_document: The hash of the last of them.
        words: Their words; those of the documents' bytes beyond ``train_bytes`` are left out.
    """

    documents: int
    size: int
    last_document: int
    words: Words


def write_making(folder: Path, making: Making) -> None:
    """Write the journal.

    Raises:
        OSError: The disk is full or not writable; the journal is the one before.
    """
    write_record(folder, TOKENIZER, making.settings, finished=making.finished)


def read_making(folder: Path) -> Making | None:
    """Return what the journal holds; None if the folder has none of a tokenizer.

    Raises:
        DataError: It is damaged or of another version.
    """

    def build(record: dict[str, Any]) -> Making:
        if not isinstance(record["finished"], bool):
            raise TypeError("finished is a bool")
        return Making(record["settings"], record["finished"])

    return read_record(folder, TOKENIZER, build)


def write_counted(folder: Path, counted: Counted) -> None:
    """Write ``words.bin``.

    Raises:
        OSError: The disk is full or not writable; the file is the one before.
    """
    words = counted.words
    about = {
        "documents": counted.documents,
        "bytes": counted.size,
        "last_document": counted.last_document,
        "words": len(words.lengths),
    }
    chunks: list[bytes | memoryview] = [json.dumps(about).encode() + b"\n", np.ascontiguousarray(words.text).data]
    chunks += [np.ascontiguousarray(column, dtype="<i8").data for column in (words.lengths, words.counts)]
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    write_atomically(folder / WORDS, [digest.hexdigest().encode() + b"\n", *chunks])


def read_counted(folder: Path) -> Counted | None:
    """Return what ``words.bin`` holds; None where there is none.

    Raises:
        DataError: It is torn or damaged, or says what no run can have written.
    """
    path = folder / WORDS
    try:
        with path.open("rb") as handle:
            expected = handle.readline().strip().decode("ascii", errors="replace")
            begin = handle.tell()
            if hashlib.file_digest(handle, "sha256").hexdigest() != expected:
                raise DataError(f"{str(path)!r} is damaged: its SHA-256 is not the recorded one")
            handle.seek(begin)
            about = json.loads(handle.readline())
            numbers = [about[name] for name in ("documents", "bytes", "last_document", "words")]
            if any(type(number) is not int or number < 0 for number in numbers):
                raise ValueError
            documents, read, last_document, words = numbers
            size = path.stat().st_size - handle.tell() - 16 * words
            if size < 0:
                raise ValueError
            text = np.fromfile(handle, dtype=np.uint8, count=size)
            lengths, counts = (np.fromfile(handle, dtype="<i8", count=words) for _ in range(2))
            if (lengths < 1).any() or (counts < 1).any() or int(lengths.sum()) != size:
                raise ValueError
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # the hash is right: a writer that was wrong
        raise DataError(f"{str(path)!r} holds no words that were counted") from None
    return Counted(documents, read, last_document, Words(text, lengths, counts))
