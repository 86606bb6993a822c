"""A folder tree: every file with one of some suffixes is a document."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from diffusionlm.data.documents import BEGINNING, InvalidUTF8, checked_utf8, refuse_utf16
from diffusionlm.data.sources.base import Source, files_fingerprint, read_bytes
from diffusionlm.errors import DataError
from diffusionlm.params import Strict
from diffusionlm.paths import user_path


class FolderParams(Strict):
    """All text files under a folder."""

    name: Literal["folder"] = "folder"
    path: str = Field(min_length=1)
    """The folder; it is searched to any depth. Names that begin with a dot are left out."""
    suffixes: list[str] = Field([".txt"], min_length=1)
    """Endings of the files to take ([".py", ".md"])."""
    invalid_utf8: InvalidUTF8 = "lossless"
    """Bytes that are not UTF-8: kept, replaced by U+FFFD, their document skipped, or an error."""


class FolderSource(Source):
    """One document per file, sorted by path."""

    Params = FolderParams

    def __init__(self, params: FolderParams) -> None:
        self.params = params
        self.root = user_path(params.path)
        if not self.root.is_dir():
            what = "is a file; give a folder, or take source 'text'" if self.root.exists() else "does not exist"
            raise DataError(f"folder {params.path!r} {what}; check the path (it is relative to {Path.cwd()})")
        self.files = sorted(self._find(), key=self._relative)
        if not self.files:
            wanted = ", ".join(params.suffixes)
            raise DataError(f"folder {params.path!r} has no file that ends in {wanted}; set suffixes to what it holds")

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _find(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.root, onerror=_refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                file = Path(folder, name)
                if name.endswith(tuple(self.params.suffixes)) and not name.startswith(".") and file.is_file():
                    yield file

    def read(self) -> Iterator[bytes]:
        """Yield every file as one document.

        Raises:
            DataError: A file cannot be read, is UTF-16, or is not UTF-8 under the policy ``error``.
        """
        for file in self.files:
            document, where = read_bytes(file), f"file {str(file)!r}"
            refuse_utf16(document[:BEGINNING], where)
            yield checked_utf8(document, self.params.invalid_utf8, where)

    @property
    def count(self) -> int:
        """The number of files."""
        return len(self.files)

    @property
    def fingerprint(self) -> str:
        """By path, size and time of last change of every file."""
        return files_fingerprint(self.params, self.files)

    @property
    def expected_bytes(self) -> int:
        """The size of the files."""
        return sum(file.stat().st_size for file in self.files)

    def describe(self) -> str:
        """Name the folder."""
        return f"folder {self.params.path!r}"


def _refuse(error: OSError) -> None:
    """Refuse a folder that cannot be listed: its files would be missing without a word."""
    raise DataError(f"cannot list {str(error.filename)!r}: {error.strerror}; check the folder and its permissions")
