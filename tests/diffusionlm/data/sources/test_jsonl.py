from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from diffusionlm.data.sources import jsonl
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


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_the_size_of_the_text_is_told_from_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(jsonl, "SAMPLED_BYTES", 1 << 16)
    rng = random.Random(0)
    rows = [{"text": f"{rng.getrandbits(2000):x}\n", "meta": f"{rng.getrandbits(1000):x}"} for _ in range(3000)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    one = JSONLSource(JSONLParams(path=str(path)))
    size = sum(map(len, one))
    assert size < 0.7 * len(content), "the file itself is much larger"
    assert abs(one.expected_bytes - size) < 0.02 * size


def test_of_one_long_line_the_size_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "SAMPLED_BYTES", 1 << 12)
    content = json.dumps({"text": f"{random.Random(0).getrandbits(200_000):x}"}).encode()
    (tmp_path / "a.jsonl").write_bytes(content)
    assert JSONLSource(JSONLParams(path=str(tmp_path / "a.jsonl"))).expected_bytes == len(content)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    packed = JSONLSource(JSONLParams(path=str(tmp_path / "a.jsonl.gz"))).expected_bytes
    assert 0.5 * len(content) < packed < 2 * len(content)


def test_the_size_of_a_broken_file_is_that_of_its_good_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "abcde"}\n' * 10 + b"no json\n")
    assert 40 <= JSONLSource(JSONLParams(path=str(path))).expected_bytes <= 60
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "abcde"}\n' * 10)
    assert 45 <= JSONLSource(JSONLParams(path=str(path))).expected_bytes <= 55
    path.write_bytes(b"")
    assert JSONLSource(JSONLParams(path=str(path))).expected_bytes == 0
    (tmp_path / "b.jsonl.gz").write_bytes(b"this is no gzip file")
    assert JSONLSource(JSONLParams(path=str(tmp_path / "b.jsonl.gz"))).expected_bytes == 0
