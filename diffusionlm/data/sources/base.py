"""The base class of every place that text can come from.

A source is one file: a ``Params`` and a class that yields documents as bytes. It joins the registry by one import line
in ``data/sources/__init__.py``.
"""

from __future__ import annotations

import glob
import hashlib
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from diffusionlm.data.documents import Documents
from diffusionlm.errors import DataError
from diffusionlm.nearest import suggestion
from diffusionlm.params import Strict
from diffusionlm.paths import user_path


class Source(Documents):
    """A place that text comes from, configured by its ``Params``."""

    Params: type[Strict]

    @abstractmethod
    def __init__(self, params: Any) -> None:
        """Check what can be checked without reading the text."""

    @abstractmethod
    def read(self) -> Iterator[bytes]:
        """Yield every document, empty ones included."""

    def validation(self) -> Documents | None:
        """Return the held-out documents that come with the source, or None where there are none of their own."""
        return None


def find_files(pattern: str) -> list[Path]:
    """Return the files that a path or a glob pattern (``**`` included) names, each once, sorted by path.

    Raises:
        DataError: Nothing is there, or something other than a file.
    """
    path = user_path(pattern)
    if path.is_dir():
        raise DataError(f"{pattern!r} is a folder; give a file or a pattern such as {str(path / '*')!r}")
    if path.is_file():
        return [path]
    if path.exists():
        raise DataError(f"{pattern!r} is a pipe or a device; a text is read more than once: give a file that holds it")
    if glob.has_magic(pattern):
        files = [found for found in map(Path, glob.glob(str(path), recursive=True)) if found.is_file()]
        if files:
            # ``**`` follows links; one to a folder above leads to each file dozens of times: the shortest way stays.
            longest_first = sorted(files, key=lambda file: (-len(file.parts), file))
            return sorted({file.resolve(): file for file in longest_first}.values())
        raise DataError(f"no file matches the pattern {pattern!r}; check the path (it is relative to {Path.cwd()})")
    raise DataError(f"file {pattern!r} does not exist; check the path (it is relative to {Path.cwd()})")


def files_fingerprint(params: Strict, files: list[Path]) -> str:
    """Return a fingerprint of files by path, size and time of last change.

    Reading every byte of a large corpus to see that nothing changed would cost as much as using it. The content itself
    is hashed when it is tokenized (``TokenStore.fingerprint``).
    """
    digest = hashlib.sha256(params.model_dump_json().encode())
    for file in files:
        stat = file.stat()
        digest.update(f"\n{file.resolve()}\t{stat.st_size}\t{stat.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read_bytes(file: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {str(file)!r}: {error.strerror}; check the path and its permissions") from None


def check_field(fields: Collection[str], wanted: str, where: str) -> None:
    """Refuse a text field that is not there.

    Raises:
        DataError: Names the fields there are, and the nearest one.
    """
    if wanted not in fields:
        raise DataError(
            f"{where} has no field {wanted!r}{suggestion(wanted, fields)}; set text_field to one of: "
            f"{', '.join(sorted(fields))}"
        )


def text_of(row: Mapping[str, Any], field: str, where: str) -> str:
    """Return the text in a row's field; a null is an empty text.

    Raises:
        DataError: The field is missing or holds something else.
    """
    if field not in row:
        check_field(row.keys(), field, where)
    value = row[field]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"field {field!r} of {where} holds {type(value).__name__}, not text; set text_field")
    return value
