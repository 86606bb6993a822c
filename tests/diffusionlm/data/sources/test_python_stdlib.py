from __future__ import annotations

from pathlib import Path

import pytest

from diffusionlm.data.sources import python_stdlib
from diffusionlm.data.sources.python_stdlib import PythonStdlibParams, PythonStdlibSource
from diffusionlm.errors import DataError


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library beside which everything lies that must be left out."""
    files = {
        "os.py": b"os",
        "json/__init__.py": b"json",
        "test/test_os.py": b"test_os",
        "unittest/tests/a.py": b"deep",
        "empty.py": b"",
        "latin.py": b"# \xe9",
        "notes.txt": b"no",
        "site-packages/pip/x.py": b"no",
        "dist-packages/x.py": b"no",
        "json/__pycache__/x.py": b"no",
        "lib2to3/tests/data/py2.py": b"no",
        "lib2to3/main.py": b"lib2to3",
        "_sysconfigdata__linux_.py": b"no",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(python_stdlib.sysconfig, "get_path", lambda name: str(tmp_path) if name == "stdlib" else "")
    return tmp_path


def test_files_in_order_and_what_is_left_out(library: Path) -> None:
    assert list(PythonStdlibSource(PythonStdlibParams())) == [b"json", b"lib2to3", b"os", b"test_os", b"deep"]
    assert list(PythonStdlibSource(PythonStdlibParams(tests=False))) == [b"json", b"lib2to3", b"os"]


def test_fingerprint_follows_the_files(library: Path) -> None:
    first = PythonStdlibSource(PythonStdlibParams()).fingerprint
    assert PythonStdlibSource(PythonStdlibParams()).fingerprint == first
    assert PythonStdlibSource(PythonStdlibParams(tests=False)).fingerprint != first
    (library / "new.py").write_text("new")
    assert PythonStdlibSource(PythonStdlibParams()).fingerprint != first


def test_a_python_without_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_stdlib.sysconfig, "get_path", lambda name: str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"^this Python has no library source at '.*'; use a 'text' or 'folder' source"):
        PythonStdlibSource(PythonStdlibParams())


def test_the_real_library_is_a_corpus() -> None:
    source = PythonStdlibSource(PythonStdlibParams(tests=False))
    documents = list(source)
    assert documents == list(source)
    assert sum(map(len, documents)) > 5_000_000
    assert any(b"def namedtuple" in document for document in documents)
    for document in documents:
        document.decode("utf-8")
