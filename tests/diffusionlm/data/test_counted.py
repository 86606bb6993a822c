from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffusionlm.data.counted import WORDS, Counted, Making, read_counted, read_making, write_counted, write_making
from diffusionlm.errors import DataError
from diffusionlm.tokenizer.training import Words

ONE = Counted(3, 17, 2**64 - 1, Words(np.frombuffer(b"aab\n", np.uint8), np.array([1, 2, 1]), np.array([5, 2**40, 1])))


def same(one: Counted | None, other: Counted) -> bool:
    assert one is not None
    equal = all(np.array_equal(mine, yours) for mine, yours in zip(one.words, other.words, strict=True))
    return equal and replace(one, words=other.words) == other


@pytest.mark.parametrize("counted", [ONE, Counted(1, 1, 0, Words(*(np.zeros(0, t) for t in (np.uint8, "<i8", "<i8"))))])
def test_what_is_written_is_read(tmp_path: Path, counted: Counted) -> None:
    assert read_counted(tmp_path) is None
    write_counted(tmp_path, counted)
    assert same(read_counted(tmp_path), counted)
    assert [path.name for path in tmp_path.iterdir()] == [WORDS]


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    write_counted(tmp_path, ONE)
    path = tmp_path / WORDS
    whole = path.read_bytes()
    torn = [whole[:size] for size in range(len(whole))]
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole)) if i != whole.index(b"\n")]
    for content in [*torn, *flipped, whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"words.bin' is damaged: its SHA-256 is not the recorded one$"):
            read_counted(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"[]\n",
        b'{"documents": 1}\n',
        b'{"documents": 1, "bytes": 2, "last_document": 3, "words": "4"}\n',
        b'{"documents": 1, "bytes": 2, "last_document": 3, "words": 4}\n',
        b'{"documents": 1, "bytes": 2, "last_document": 3, "words": 0}\ntext',
        b'{"documents": 1, "bytes": 2, "last_document": 3, "words": 1}\na' + bytes([1] + [0] * 15),
        b"no json\n",
    ],
)
def test_what_no_run_wrote_is_refused_though_its_hash_is_right(tmp_path: Path, content: bytes) -> None:
    (tmp_path / WORDS).write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    with pytest.raises(DataError, match=r"words.bin' holds no words that were counted$"):
        read_counted(tmp_path)


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_counted(tmp_path, ONE)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_counted(tmp_path, replace(ONE, documents=4))
    assert same(read_counted(tmp_path), ONE)
    assert [path.name for path in tmp_path.iterdir()] == [WORDS]


def test_the_journal(tmp_path: Path) -> None:
    assert read_making(tmp_path) is None
    for finished in (False, True):
        write_making(tmp_path, Making({"corpus": "a"}, finished))
        assert read_making(tmp_path) == Making({"corpus": "a"}, finished)
    path = tmp_path / "journal.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "format": "flowlm-journal"}))
    assert read_making(tmp_path) is None, "a folder of shards is no tokenizer's"
    for broken in ({**record, "finished": 1}, {**record, "settings": 3}, {"version": 1}, [1]):
        path.write_text(json.dumps(broken))
        with pytest.raises(
            DataError, match=r"journal.json' is damaged; remove the folder and train the tokenizer again"
        ):
            read_making(tmp_path)
    path.write_text(json.dumps({**record, "version": 2}))
    with pytest.raises(DataError, match=r"has format version 2, this program reads 1; remove the folder and train the"):
        read_making(tmp_path)
