from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

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


def test_utf16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words", encoding="utf-16")
    with pytest.raises(DataError, match=r"^file '.*a.txt' is UTF-16, and text must be UTF-8; convert it"):
        list(source(tmp_path))


def test_a_file_and_an_empty_path(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words")
    with pytest.raises(DataError, match=r"^folder '.*a.txt' is a file; give a folder, or take source 'text'"):
        source(tmp_path / "a.txt")
    with pytest.raises(ValidationError, match="at least 1 character"):
        FolderParams(path="")


def test_links_are_not_followed_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("some words")
    (tmp_path / "deep" / "up").symlink_to("..")
    (tmp_path / "itself.txt").symlink_to("itself.txt")
    assert list(source(tmp_path)) == [b"some words"]


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("some words")
    (tmp_path / "closed").mkdir()
    list_folder = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"^cannot list '.*closed': Permission denied; check the folder and its perm"):
        source(tmp_path)
