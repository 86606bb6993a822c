from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from diffusionlm.data.sources.jsonl import JSONLParams, JSONLSource
from diffusionlm.errors import DataError


def read(path: Path, content: bytes, **params: object) -> list[bytes]:
    path.write_bytes(content)
    return list(JSONLSource(JSONLParams.model_validate({"path": str(path), **params})))


def test_one_document_per_line(tmp_path: Path) -> None:
    rows = [{"text": "one\ntwo"}, {"text": None}, {"text": ""}, {"text": "é 🦊", "id": 3}]
    content = "\n".join(json.dumps(row) for row in rows).encode() + b"\n\n"
    assert read(tmp_path / "a.jsonl", content) == [b"one\ntwo", "é 🦊".encode()]
    assert read(tmp_path / "a.jsonl.gz", gzip.compress(content)) == [b"one\ntwo", "é 🦊".encode()]
    assert read(tmp_path / "a.jsonl", b'{"body": "x"}', text_field="body") == [b"x"]


def test_mistakes_are_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(DataError, match=r"^line 2 of '.*' has no field 'text'; set text_field to one of: body, id$"):
        read(path, b'{"text": "a"}\n{"body": "x", "id": 1}\n')
    with pytest.raises(DataError, match=r"^line 1 of '.*' is not JSON: .*; give one JSON object per line$"):
        read(path, b"{'text': 1}\n")
    with pytest.raises(DataError, match=r"^line 1 of '.*' is not JSON: .*; give one JSON object per line$"):
        read(path, b"[" * 100_000)
    with pytest.raises(DataError, match=r"^line 1 of '.*' is a JSON list, not an object"):
        read(path, b'["text"]\n')
    with pytest.raises(DataError, match=r"^field 'text' of line 1 of '.*' holds int, not text"):
        read(path, b'{"text": 5}\n')
    with pytest.raises(DataError, match="the corpus is empty"):
        read(path, b"\n")
    with pytest.raises(DataError, match=r"^cannot read '.*gz': .*; check the file$"):
        read(tmp_path / "a.jsonl.gz", b"this is no gzip file")
    with pytest.raises(DataError, match=r"^cannot read '.*gz': .*; check the file$"):
        read(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 50)[:-9])


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path, content = tmp_path / "a.jsonl", b'{"text": "a\xff"}\n{"text": "b"}\n{"text": "\\ud800"}\n'
    assert read(path, content) == [b"a\xff", b"b", b"\xed\xa0\x80"]
    assert read(path, content, invalid_utf8="skip") == [b"b"]
    with pytest.raises(DataError, match=r"^line 1 of '.*' is not UTF-8 at byte 1"):
        read(path, content, invalid_utf8="error")


def test_a_mark_of_utf8_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "x"}\r\n\r\n{"text": "y"}\r\n'
    assert read(tmp_path / "a.jsonl", content) == [b"x", b"y"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_refused(tmp_path: Path, encoding: str) -> None:
    content = ("" if encoding == "utf-16" else "\ufeff") + '{"text": "x"}\n'
    with pytest.raises(DataError, match=r"^'.*a.jsonl' is UTF-16, and text must be UTF-8; convert it"):
        read(tmp_path / "a.jsonl", content.encode(encoding))
