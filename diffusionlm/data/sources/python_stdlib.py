"""The built-in corpus: the source code of the running interpreter's standard library.

Real code, about 30 MB of it with its tests, on every machine that can run this program, without any network. The
documents are files, so they differ a little between Python versions; the same interpreter always gives the same ones.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from diffusionlm.data.sources.base import Source, files_fingerprint, read_bytes
from diffusionlm.errors import DataError
from diffusionlm.params import Strict

_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__"})
_TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})


class PythonStdlibParams(Strict):
    """The standard library's own source."""

    name: Literal["python-stdlib"] = "python-stdlib"
    tests: bool = True
    """Also the library's tests, more than half of the text; some installations leave them out."""


class PythonStdlibSource(Source):
    """One document per ``*.py`` file of the standard library, sorted by path.

    Left out: installed packages, Python 2 samples (``lib2to3/tests/data``), generated build settings
    (``_sysconfigdata*``), and files that are not UTF-8, which exist to test the handling of other encodings.
    """

    Params = PythonStdlibParams

    def __init__(self, params: PythonStdlibParams) -> None:
        self.params = params
        self.root = Path(sysconfig.get_path("stdlib"))
        if not self.root.is_dir():
            raise DataError(f"this Python has no library source at {str(self.root)!r}; use a 'text' or 'folder' source")

    def files(self) -> list[Path]:
        """Return the files, sorted by their path relative to the library."""
        return sorted((f for f in self.root.rglob("*.py") if self._wanted(f)), key=self._relative)

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _wanted(self, file: Path) -> bool:
        relative = file.relative_to(self.root)
        folders = frozenset(relative.parts[:-1])
        if folders & _SKIPPED_FOLDERS or file.name.startswith("_sysconfigdata"):
            return False
        if relative.as_posix().startswith("lib2to3/tests/data/"):
            return False
        return self.params.tests or not folders & _TEST_FOLDERS

    def read(self) -> Iterator[bytes]:
        """Yield every file as one document."""
        for file in self.files():
            document = read_bytes(file)
            try:
                document.decode("utf-8")
            except UnicodeDecodeError:
                continue
            yield document

    @property
    def fingerprint(self) -> str:
        """By path, size and time of last change of every file."""
        return files_fingerprint(self.params, self.files())

    @property
    def expected_bytes(self) -> int:
        """The size of the files."""
        return sum(file.stat().st_size for file in self.files())

    def describe(self) -> str:
        """Name the library."""
        return f"the standard library at {str(self.root)!r}"
