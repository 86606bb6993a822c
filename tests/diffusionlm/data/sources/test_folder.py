from __future__ import annotations

from pathlib import Path

import pytest

from diffusionlm.data.sources.folder import FolderParams, FolderSource
from diffusionlm.errors import DataError


def source(path: Path, **params: object) -> FolderSource:
    return FolderSource(FolderParams.model_validate({"path": str(path), **params}))


def test_files_by_suffix_sorted_by_path(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b.md", "c.py", ".hidden.txt", ".git/x.txt", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.txt").mkdir()
    assert list(source(tmp_path)) == [b"a.txt", b"a/z.txt", b"b.txt"]
    several = source(tmp_path, suffixes=[".md", ".py"])
    assert list(several) == [b"a/b.md", b"c.py"]
    assert several.count == 2
    assert several.fingerprint != source(tmp_path).fingerprint


def test_mistakes_are_one_line_each(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^folder '.*none' does not exist; check the path \(it is relative to"):
        source(tmp_path / "none")
    with pytest.raises(
        DataError, match=r"^folder '.*' has no file that ends in .txt, .md; set suffixes to what it holds$"
    ):
        source(tmp_path, suffixes=[".txt", ".md"])
    (tmp_path / "a.txt").write_bytes(b"\xff")
    assert list(source(tmp_path)) == [b"\xff"]
    with pytest.raises(DataError, match=r"^file '.*a.txt' is not UTF-8 at byte 0"):
        list(source(tmp_path, invalid_utf8="error"))
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"^the corpus is empty: folder '.*' holds no text"):
        list(source(tmp_path))
