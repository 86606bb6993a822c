"""The base class of every place that text can come from.

A source is one file: a ``Params`` and a class that yields documents as bytes. It joins the registry by one import line
in ``data/sources/__init__.py``.
"""

from __future__ import annotations

import glob
import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffusionlm.data.documents import Documents
from diffusionlm.errors import DataError
from diffusionlm.params import Strict


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
    """Return the files that a path or a glob pattern (``**`` included) names, sorted by path.

    Raises:
        DataError: Nothing is there, or the path is a folder.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        raise DataError(f"{pattern!r} is a folder; give a file or a pattern such as {str(path / '*')!r}")
    if path.exists():
        return [path]
    if glob.has_magic(pattern):
        files = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
        if files:
            return files
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
