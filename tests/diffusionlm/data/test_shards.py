from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusionlm.data import shards
from diffusionlm.data.encode import encode_documents
from diffusionlm.data.make import make_data
from diffusionlm.data.shards import open_shards, read_shard, write_shard
from diffusionlm.data.store import store_in_memory
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer, Tokenizer
from tests.diffusionlm.data.doubles import ListDocuments, WideTokenizer, texts

DOCUMENTS = texts([3, 200, 1, 77])


def one_shard(path: Path, tokenizer: Tokenizer | None = None) -> Path:
    tokenizer = tokenizer or ByteTokenizer()
    parts = list(encode_documents(DOCUMENTS, tokenizer))
    write_shard(
        path,
        parts,
        tokenizer=tokenizer.fingerprint(),
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
    )
    return path


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), WideTokenizer()])
def test_round_trip(tmp_path: Path, tokenizer: Tokenizer) -> None:
    shard = read_shard(one_shard(tmp_path / "a.bin", tokenizer))
    (part,) = encode_documents(DOCUMENTS, tokenizer)
    assert np.array_equal(shard.tokens, part.tokens)
    assert shard.tokens.dtype == part.tokens.dtype
    assert isinstance(shard.tokens, np.memmap)
    assert np.diff(shard.offsets).tolist() == [4, 201, 2, 78]
    assert shard.sizes.tolist() == [3, 200, 1, 77]
    assert np.array_equal(shard.hashes, part.hashes)
    header = shard.header
    assert (header.n_documents, header.n_tokens, header.n_bytes) == (4, 285, 281)
    assert (header.tokenizer, header.vocab_size) == (tokenizer.fingerprint(), tokenizer.vocab_size)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = one_shard(tmp_path / "a.bin")
    whole = path.read_bytes()
    header_end = 48 + int.from_bytes(whole[12:16], "little")
    payload = header_end + -header_end % 64
    assert payload > header_end, "there are zeros between the header and the payload"
    places = [*range(0, header_end, 7), *range(header_end, payload), *range(payload, len(whole), 29), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(
            DataError, match=r"is damaged|is not a token shard|has format version|is truncated"
        ) as caught:
            read_shard(path)
        assert "\n" not in str(caught.value)
        assert "a.bin" in str(caught.value)


def test_verification_of_the_payload_can_be_left_out(tmp_path: Path) -> None:
    path = one_shard(tmp_path / "a.bin")
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert read_shard(path, verify=False).header.n_documents == 4
    with pytest.raises(DataError, match="is damaged: its SHA-256 is not the recorded one; copy or make it again"):
        read_shard(path)


@pytest.mark.parametrize("verify", [True, False])
def test_truncated_or_grown(tmp_path: Path, verify: bool) -> None:
    path = one_shard(tmp_path / "a.bin")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"is truncated: {len(whole) - 1} bytes where its header says {len(whole)}"):
        read_shard(path, verify)
    path.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="is too long"):
        read_shard(path, verify)
    for size in (0, 5, 60):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"is not a token shard|is damaged"):
            read_shard(path, verify)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read shard .*: No such file"):
        read_shard(tmp_path / "none.bin")
    (tmp_path / "text.bin").write_text("Once upon a time there was a text that was longer than a header")
    with pytest.raises(DataError, match="is not a token shard; make shards with flowlm-make-data"):
        read_shard(tmp_path / "text.bin")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        one_shard(tmp_path / "a.bin")
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_shards_is_the_store(tmp_path: Path) -> None:
    documents = texts([50] * 40)
    made = make_data(documents, ByteTokenizer(), tmp_path / "out", shard_tokens=300)
    assert made.n_shards == 8  # five documents of 51 tokens each
    store, memory = open_shards(tmp_path / "out"), store_in_memory(ListDocuments(documents), ByteTokenizer())
    assert store.fingerprint == memory.fingerprint == made.fingerprint
    assert (store.n_documents, store.n_tokens, store.n_bytes) == (40, 2040, 2000)
    runs = np.array([0, 51 * 39, 51 * 7 + 3]), np.array([51, 51, 20])
    assert np.array_equal(store.gather(*runs), memory.gather(*runs))
    for index in range(40):
        assert np.array_equal(store.document(index), memory.document(index))


def test_damaged_folders(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(DataError, match="does not exist; make it with flowlm-make-data"):
        open_shards(folder)
    make_data(texts([50] * 40), ByteTokenizer(), folder, shard_tokens=300)
    index, second = folder / "index.json", folder / "shard-00001.bin"
    text, data = index.read_text(), second.read_bytes()

    second.write_bytes((folder / "shard-00002.bin").read_bytes())
    with pytest.raises(DataError, match=r"shard-00001.bin' is not the one that index.json names"):
        open_shards(folder)
    second.unlink()
    with pytest.raises(DataError, match=r"cannot read shard .*shard-00001.bin"):
        open_shards(folder)
    second.write_bytes(data)

    index.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"index.json' is damaged"):
        open_shards(folder)
    index.write_text(json.dumps({**json.loads(text), "version": 99}))
    with pytest.raises(DataError, match="has format version 99, this program reads 1; make it again"):
        open_shards(folder)
    index.write_text(json.dumps({**json.loads(text), "shards": []}))
    with pytest.raises(DataError, match="lists no shards"):
        open_shards(folder)
    index.unlink()
    with pytest.raises(DataError, match=r"has no index.json: it is no shard folder or was not finished"):
        open_shards(folder)


def lie(path: Path, changes: dict[str, object], payload: dict[int, bytes] | None = None) -> None:
    """Rewrite a shard so that its header says something else, and every hash is right."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[12:16], "little")
    header, body = json.loads(whole[48 : 48 + length]), bytearray(whole[48 + length + -(48 + length) % 64 :])
    for place, value in (payload or {}).items():
        body[place : place + len(value)] = value
    text = json.dumps({**header, "sha256": hashlib.sha256(body).hexdigest(), **changes}).encode()
    prefix = whole[:12] + len(text).to_bytes(4, "little") + hashlib.sha256(text).digest() + text
    path.write_bytes(prefix + bytes(-len(prefix) % 64) + body)


@pytest.mark.parametrize(
    "changes",
    [{"dtype": "xyz"}, {"dtype": "|O"}, {"dtype": 3}, {"foo": 1}, {"n_tokens": "a"}, {"n_documents": -5}],
)
def test_a_header_that_is_hashed_and_useless(tmp_path: Path, changes: dict[str, object]) -> None:
    path = one_shard(tmp_path / "a.bin")
    lie(path, changes)
    with pytest.raises(DataError, match=r"^shard '.*a.bin' has a header that says nothing of use; make it again$"):
        read_shard(path)


@pytest.mark.parametrize("offset", [10**15, -5, 0])
@pytest.mark.parametrize("verify", [True, False])
def test_offsets_that_lead_nowhere(tmp_path: Path, offset: int, verify: bool) -> None:
    path = one_shard(tmp_path / "a.bin")
    lie(path, {}, {8: offset.to_bytes(8, "little", signed=True)})
    with pytest.raises(DataError, match=r"a.bin' has offsets that are not those of documents end to end"):
        read_shard(path, verify)


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((folder / "index.json").read_bytes())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.update(shards=["file"]), "is damaged"),
        (lambda index: index.update(shards=5), "is damaged"),
        (lambda index: index["shards"][0].update(file=5), "is damaged"),
        (lambda index: index["shards"][0].update(file="a\0b"), "is damaged"),
        (lambda index: index["shards"][0].update(file="../out/shard-00000.bin"), "is damaged"),
        (lambda index: index.pop("n_tokens"), "is damaged"),
        (lambda index: index["shards"].append(index["shards"][0]), "has another fingerprint than its shards"),
        (lambda index: index["shards"].reverse(), "has another fingerprint than its shards"),
        (lambda index: index["shards"].pop(), "has another fingerprint than its shards"),
    ],
)
def test_an_index_that_is_not_of_these_shards(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    folder = tmp_path / "out"
    make_data(DOCUMENTS, ByteTokenizer(), folder, shard_tokens=100)
    edit_index(folder, change)
    with pytest.raises(DataError, match=f"^'.*index.json' {said}; copy or make the folder again$"):
        open_shards(folder)


def test_shards_of_several_tokenizers(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    make_data(DOCUMENTS, ByteTokenizer(), folder, shard_tokens=100)
    lie(folder / "shard-00001.bin", {"tokenizer": "ab" * 32})
    edit_index(folder, lambda index: index["shards"][1].update(tokenizer="ab" * 32))
    with pytest.raises(DataError, match="has another fingerprint than its shards"):
        open_shards(folder)
