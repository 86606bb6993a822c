"""A folder tree: every file with one of some suffixes is a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from diffusionlm.data.documents import InvalidUTF8, checked_utf8
from diffusionlm.data.sources.base import Source, files_fingerprint, read_bytes
from diffusionlm.errors import DataError
from diffusionlm.params import Strict
from diffusionlm.paths import user_path


class FolderParams(Strict):
    """All text files under a folder."""

    name: Literal["folder"] = "folder"
    path: str
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
            raise DataError(f"folder {params.path!r} does not exist; check the path (it is relative to {Path.cwd()})")
        self.files = sorted((f for f in self.root.rglob("*") if self._wanted(f)), key=self._relative)
        if not self.files:
            wanted = ", ".join(params.suffixes)
            raise DataError(f"folder {params.path!r} has no file that ends in {wanted}; set suffixes to what it holds")

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _wanted(self, file: Path) -> bool:
        if not file.name.endswith(tuple(self.params.suffixes)) or not file.is_file():
            return False
        return not any(part.startswith(".") for part in file.relative_to(self.root).parts)

    def read(self) -> Iterator[bytes]:
        """Yield every file as one document.

        Raises:
            DataError: A file cannot be read, or is not UTF-8 under the policy ``error``.
        """
        for file in self.files:
            yield checked_utf8(read_bytes(file), self.params.invalid_utf8, f"file {str(file)!r}")

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
