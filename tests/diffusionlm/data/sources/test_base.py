from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffusionlm.data.sources import SOURCES, Source
from diffusionlm.data.sources.base import check_field, files_fingerprint, find_files, text_of
from diffusionlm.data.sources.text import TextParams
from diffusionlm.errors import DataError


def test_one_file_a_pattern_and_nothing(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md", "deep/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert find_files(str(tmp_path / "c.md")) == [tmp_path / "c.md"]
    assert find_files(str(tmp_path / "*.txt")) == [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert find_files(str(tmp_path / "**/*.txt")) == [tmp_path / n for n in ("a.txt", "b.txt", "deep/d.txt")]
    with pytest.raises(DataError, match=r"no file matches the pattern '.*\*.csv'; check the path"):
        find_files(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match=r"^file '.*none' does not exist; check the path \(it is relative to"):
        find_files(str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"is a folder; give a file or a pattern such as"):
        find_files(str(tmp_path))


def test_a_link_to_a_folder_above_gives_no_copies(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "deep" / "up").symlink_to("..")
    (tmp_path / "deep" / "itself.txt").symlink_to("itself.txt")
    assert find_files(str(tmp_path / "**" / "*.txt")) == [tmp_path / "a.txt", tmp_path / "deep" / "b.txt"]


def test_a_pipe_is_refused_before_it_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device; a text is read more than once"):
        find_files(str(tmp_path / "pipe"))
    with pytest.raises(DataError, match="is a pipe or a device"):
        find_files("/dev/null")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    odd = tmp_path / "a[1].txt"
    odd.write_text("x")
    assert find_files(str(odd)) == [odd]


def test_fingerprint_follows_content_time_and_parameters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    params = TextParams(path=str(path))
    first = files_fingerprint(params, [path])
    assert files_fingerprint(params, [path]) == first
    assert files_fingerprint(TextParams(path=str(path), chunk_bytes=5), [path]) != first
    os.utime(path, ns=(1, 1))
    assert files_fingerprint(params, [path]) != first


def test_fields() -> None:
    assert text_of({"text": "a"}, "text", "row 1") == "a"
    assert text_of({"text": None}, "text", "row 1") == ""
    with pytest.raises(
        DataError, match=r"^row 1 has no field 'txt'; did you mean 'text'\?; set text_field to one of: id, text$"
    ):
        text_of({"text": "a", "id": 1}, "txt", "row 1")
    with pytest.raises(DataError, match=r"^field 'id' of row 1 holds int, not text; set text_field$"):
        text_of({"text": "a", "id": 1}, "id", "row 1")
    with pytest.raises(DataError, match=r"^x has no field 'zzz'; set text_field to one of: text$"):
        check_field(["text"], "zzz", "x")


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_source_keeps_the_contract(name: str) -> None:
    source = SOURCES[name]
    assert issubclass(source, Source)
    assert source.Params.model_fields["name"].default == name
    assert source.__doc__
    undocumented = [
        field for field, info in source.Params.model_fields.items() if field != "name" and not info.description
    ]
    assert not undocumented
