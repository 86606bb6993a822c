"""Plain text files, split into documents at a separator or, where there is none, cut at line ends."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from diffusionlm.data.documents import BEGINNING, InvalidUTF8, checked_utf8, refuse_utf16
from diffusionlm.data.sources.base import Source, files_fingerprint, find_files
from diffusionlm.errors import DataError
from diffusionlm.params import Strict

WINDOW = 1 << 25
"""Bytes of a file that are mapped at a time, about."""


class TextParams(Strict):
    """A text file, or many by a pattern."""

    name: Literal["text"] = "text"
    path: str
    """A file, or a glob pattern ("corpus/**/*.txt")."""
    separator: str = "<|endoftext|>"
    """What stands between two documents in a file; a line break right after it is dropped too. Empty: none."""
    chunk_bytes: int = Field(16384, ge=0, le=1 << 40)
    """A file without the separator is cut at line ends into documents of about this many bytes; 0 keeps it whole."""
    invalid_utf8: InvalidUTF8 = "lossless"
    """Bytes that are not UTF-8: kept, replaced by U+FFFD, their document skipped, or an error."""


class TextSource(Source):
    """Documents of text files. Files are mapped, not read, so memory holds one document at a time."""

    Params = TextParams

    def __init__(self, params: TextParams) -> None:
        self.params = params
        self.files = find_files(params.path)

    def read(self) -> Iterator[bytes]:
        """Yield the documents of every file in order.

        Raises:
            DataError: A file cannot be read, is UTF-16, or is not UTF-8 under the policy ``error``.
        """
        for file in self.files:
            for number, document in enumerate(self._documents(file), start=1):
                yield checked_utf8(document, self.params.invalid_utf8, f"document {number} of {str(file)!r}")

    def _documents(self, file: Path) -> Iterator[bytes]:
        try:
            with file.open("rb") as handle:
                if file.stat().st_size == 0:
                    return
                with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    refuse_utf16(data[:BEGINNING], repr(str(file)))
                    separator = self.params.separator.encode("utf-8")
                    if separator and holds(data, separator):
                        yield from released(data, split_at(data, separator))
                    else:
                        yield from released(data, cut_at_lines(data, self.params.chunk_bytes))
        except OSError as error:
            raise DataError(
                f"cannot read {str(file)!r}: {error.strerror}; check the file and its permissions"
            ) from None

    @property
    def fingerprint(self) -> str:
        """By path, size and time of last change of every file."""
        return files_fingerprint(self.params, self.files)

    @property
    def expected_bytes(self) -> int:
        """The size of the files."""
        return sum(file.stat().st_size for file in self.files)

    def describe(self) -> str:
        """Name the file or pattern."""
        return f"text {self.params.path!r}"


def holds(data: mmap.mmap, separator: bytes) -> bool:
    """Return whether the separator is in a file, looking at a window at a time."""
    for begin in range(0, len(data), WINDOW):
        if data.find(separator, begin, begin + WINDOW + len(separator) - 1) >= 0:
            return True
        forget(data, begin + WINDOW)
    return False


def released(data: mmap.mmap, documents: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the documents of a file; what lies behind them is dropped from this process's memory now and then."""
    done = dropped = 0
    for document in documents:
        done += len(document)  # separators are not counted: never more than has been read
        if done - dropped >= WINDOW:
            forget(data, done)
            dropped = done
        yield document


def forget(data: mmap.mmap, end: int) -> None:
    """Drop the pages before ``end`` from this process's memory; the system may keep the file's in its cache.

    Without it a file that is read to its end counts as memory of this process, as long as there is any left.
    """
    end = min(end, len(data)) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > 0:
        data.madvise(mmap.MADV_DONTNEED, 0, end)


def split_at(data: mmap.mmap | bytes, separator: bytes) -> Iterator[bytes]:
    """Yield what stands between separators; one line break right after a separator goes with it."""
    begin = 0
    while (end := data.find(separator, begin)) >= 0:
        yield data[begin:end]
        begin = end + len(separator)
        if data[begin : begin + 2] == b"\r\n":
            begin += 2
        elif data[begin : begin + 1] == b"\n":
            begin += 1
    yield data[begin:]


def cut_at_lines(data: mmap.mmap | bytes, chunk_bytes: int) -> Iterator[bytes]:
    """Yield pieces that end at the first line end after ``chunk_bytes`` bytes (0: one piece); none is lost."""
    begin, size = 0, len(data)
    while begin < size:
        line_end = data.find(b"\n", begin + chunk_bytes - 1) if chunk_bytes else -1
        end = size if line_end < 0 else line_end + 1
        yield data[begin:end]
        begin = end
