"""JSON Lines: one object per line, the text in one of its fields; ``.gz`` files are read as they are."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from diffusionlm.data.documents import BEGINNING, InvalidUTF8, refuse_utf16, text_to_bytes
from diffusionlm.data.sources.base import Source, files_fingerprint, find_files, text_of
from diffusionlm.errors import DataError
from diffusionlm.params import Strict

SAMPLED_BYTES = 1 << 20


class JSONLParams(Strict):
    """A JSON Lines file, or many by a pattern."""

    name: Literal["jsonl"] = "jsonl"
    path: str
    """A file, or a glob pattern ("corpus/*.jsonl.gz")."""
    text_field: str = "text"
    """The field that holds the text."""
    invalid_utf8: InvalidUTF8 = "lossless"
    """Bytes that are not UTF-8: kept, replaced by U+FFFD, their document skipped, or an error."""


class JSONLSource(Source):
    """One document per line."""

    Params = JSONLParams

    def __init__(self, params: JSONLParams) -> None:
        self.params = params
        self.files = find_files(params.path)

    def read(self) -> Iterator[bytes]:
        """Yield the text of every line in order; a null is an empty document.

        Raises:
            DataError: A file cannot be read or is UTF-16, a line is not a JSON object, or it has no such text field.
        """
        for file in self.files:
            try:
                with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
                    for number, line in enumerate(lines, start=1):
                        if number == 1:
                            refuse_utf16(line[:BEGINNING], repr(str(file)))
                            line = line.removeprefix(codecs.BOM_UTF8)  # some editors put it there
                        if line.strip():
                            yield self._document(line, f"line {number} of {str(file)!r}")
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"cannot read {str(file)!r}: {error}; check the file") from None

    def _document(self, line: bytes, where: str) -> bytes:
        try:
            row = json.loads(line.decode("utf-8", errors="surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not JSON: {error}; give one JSON object per line") from None
        if not isinstance(row, dict):
            raise DataError(f"{where} is a JSON {type(row).__name__}, not an object; give one JSON object per line")
        return text_to_bytes(text_of(row, self.params.text_field, where), self.params.invalid_utf8, where)

    @property
    def expected_bytes(self) -> int:
        """The size of the files, times the text in a byte of the first one's beginning."""
        return round(sum(file.stat().st_size for file in self.files) * self._text_per_byte(self.files[0]))

    def _text_per_byte(self, file: Path) -> float:
        """Return the bytes of text for a byte of a file, compressed or not, told from its beginning."""
        try:
            content, read = _beginning(file)
        except (OSError, zlib.error):  # whoever reads the file says so
            return 0.0
        expansion = len(content) / max(1, read)
        if len(content) == SAMPLED_BYTES:
            content = content[: content.rfind(b"\n") + 1]  # the last line is cut off
            if not content:
                return expansion  # nothing is known of a line as long as that
        taken = text = 0
        try:
            for line in io.BytesIO(content.removeprefix(codecs.BOM_UTF8)):
                taken += len(line)
                text += len(self._document(line, "")) if line.strip() else 0
        except DataError:
            pass  # whoever reads the file says so, if it is read that far
        return text / max(1, taken) * expansion

    @property
    def fingerprint(self) -> str:
        """By path, size and time of last change of every file."""
        return files_fingerprint(self.params, self.files)

    def describe(self) -> str:
        """Name the file or pattern."""
        return f"JSON Lines {self.params.path!r}"


def _beginning(file: Path) -> tuple[bytes, int]:
    """Return the first megabyte of a file's content, or all of it, and the bytes of the file that it takes."""
    with file.open("rb") as raw:
        data = raw.read(SAMPLED_BYTES)
    if file.suffix != ".gz":
        return data, len(data)
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    content = unpack.decompress(data, SAMPLED_BYTES)
    return content, len(data) - len(unpack.unconsumed_tail) - len(unpack.unused_data)
