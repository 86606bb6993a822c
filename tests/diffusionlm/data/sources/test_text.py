from __future__ import annotations

import mmap
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusionlm.data.sources import text
from diffusionlm.data.sources.text import TextParams, TextSource, cut_at_lines, split_at
from diffusionlm.errors import DataError
from diffusionlm.runlog.resident import resident_mib


def read(path: Path, content: bytes, **params: object) -> list[bytes]:
    path.write_bytes(content)
    return list(TextSource(TextParams.model_validate({"path": str(path), **params})))


def test_documents_stand_between_separators(tmp_path: Path) -> None:
    content = b"one\n<|endoftext|>\ntwo\n\nlines\n<|endoftext|>\r\nthree<|endoftext|><|endoftext|>\n"
    assert read(tmp_path / "a", content) == [b"one\n", b"two\n\nlines\n", b"three"]
    assert read(tmp_path / "a", b"a--b--\nc", separator="--") == [b"a", b"b", b"c"]


@given(
    data=st.lists(st.sampled_from([b"a", b"--", b"-", b"\n", b"\r\n", b"\xff"]), max_size=30).map(b"".join),
    separator=st.sampled_from([b"--", b"a", b"-a"]),
)
def test_splitting_loses_only_separators_and_the_breaks_after_them(data: bytes, separator: bytes) -> None:
    first, *others = data.split(separator)
    expected = [first, *(re.sub(rb"\A\r?\n", b"", part) for part in others)]
    assert list(split_at(data, separator)) == expected


@given(data=st.binary(min_size=1, max_size=300) | st.text("ab\n", min_size=1).map(str.encode), size=st.integers(0, 50))
def test_cutting_loses_nothing_and_ends_at_lines(data: bytes, size: int) -> None:
    parts = list(cut_at_lines(data, size))
    assert b"".join(parts) == data
    if size == 0:
        assert len(parts) == 1
    for part in parts[:-1]:
        assert part.endswith(b"\n")
        assert len(part) >= size
        assert b"\n" not in part[size - 1 : -1], "cut at the first line end from there on"


def test_a_file_without_separator_is_cut_so_that_a_part_can_be_held_out(
    shared_data: Callable[[str], Path],
) -> None:
    path = shared_data("tinyshakespeare.txt")
    documents = list(TextSource(TextParams(path=str(path))))
    assert b"".join(documents) == path.read_bytes()
    assert 50 < len(documents) <= path.stat().st_size // 16384
    assert list(TextSource(TextParams(path=str(path), chunk_bytes=0))) == [path.read_bytes()]


def test_an_empty_separator_only_cuts(tmp_path: Path) -> None:
    assert read(tmp_path / "a", b"a<|endoftext|>b", separator="") == [b"a<|endoftext|>b"]


def test_several_files(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a1<|endoftext|>a2")
    (tmp_path / "empty.txt").write_text("")
    source = TextSource(TextParams(path=str(tmp_path / "*.txt")))
    assert list(source) == [b"a1", b"a2", b"b"]
    assert list(source) == [b"a1", b"a2", b"b"]


def test_an_empty_file_is_an_empty_corpus(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^the corpus is empty: text '.*' holds no text; give a source with at least one"
    ):
        read(tmp_path / "a", b"")
    with pytest.raises(DataError, match="the corpus is empty"):
        read(tmp_path / "a", b"<|endoftext|>\n<|endoftext|>")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    content = b"good<|endoftext|>b\xffd"
    assert read(tmp_path / "a", content) == [b"good", b"b\xffd"]
    assert read(tmp_path / "a", content, invalid_utf8="skip") == [b"good"]
    assert read(tmp_path / "a", content, invalid_utf8="replace") == [b"good", "b�d".encode()]
    with pytest.raises(DataError, match=r"^document 2 of '.*' is not UTF-8 at byte 1; set invalid_utf8 to"):
        read(tmp_path / "a", content, invalid_utf8="error")


def test_a_missing_file_and_one_that_goes_away(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^file '.*' does not exist"):
        TextSource(TextParams(path=str(tmp_path / "none")))
    (tmp_path / "a").write_text("x")
    source = TextSource(TextParams(path=str(tmp_path / "a")))
    (tmp_path / "a").unlink()
    with pytest.raises(
        DataError, match=r"^cannot read '.*': No such file or directory; check the file and its permissions"
    ):
        list(source)


@pytest.mark.parametrize("separated", [True, False])
def test_a_file_larger_than_the_window_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separated: bool
) -> None:
    """What has been read is dropped from memory on the way; a separator across two windows is found."""
    window = 2 * mmap.PAGESIZE
    monkeypatch.setattr(text, "WINDOW", window)
    lines = [f"line {i} of a text\n".encode() for i in range(6000)]
    joined = b"".join(lines)
    if separated:
        place = window - 3
        joined = joined[:place] + b"<|endoftext|>" + joined[place:]
    (tmp_path / "a.txt").write_bytes(joined)
    forgotten: list[int] = []
    real = text.forget
    monkeypatch.setattr(text, "forget", lambda data, end: (forgotten.append(end), real(data, end)))
    source = TextSource(TextParams(path=str(tmp_path / "a.txt"), chunk_bytes=300))
    expected = split_at(joined, b"<|endoftext|>") if separated else cut_at_lines(joined, 300)
    assert list(source) == list(expected)
    assert len(forgotten) > (0 if separated else 2 * len(joined) // window - 3)
    assert source.expected_bytes == len(joined)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc, on Linux")
def test_memory_does_not_follow_the_file(tmp_path: Path) -> None:
    """The file is longer than two windows and the bound: mapped pages count as memory of a process."""
    with (tmp_path / "a.txt").open("wb") as handle:
        for _ in range(160):
            handle.write((b"a line of text\n" * (1 << 17))[: 1 << 20])
    source = TextSource(TextParams(path=str(tmp_path / "a.txt")))
    before = most = resident_mib()
    for number, _ in enumerate(source):
        if number % 200 == 0:
            most = max(most, resident_mib())
    assert most < before + 80


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_refused(tmp_path: Path, encoding: str) -> None:
    content = ("" if encoding == "utf-16" else "\ufeff") + "a line\n" * 9
    with pytest.raises(DataError, match=r"^'.*a.txt' is UTF-16, and text must be UTF-8; convert it"):
        read(tmp_path / "a.txt", content.encode(encoding))


def test_bytes_that_begin_like_utf16_are_kept(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", b"\xff\xfe and text") == [b"\xff\xfe and text"]
    assert read(tmp_path / "a.txt", b"zero \0 byte") == [b"zero \0 byte"]
