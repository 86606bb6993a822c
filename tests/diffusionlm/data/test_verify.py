from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffusionlm.data.encode import EncodedDocuments
from diffusionlm.data.make import make_data
from diffusionlm.data.shards import write_shard
from diffusionlm.data.verify import verify_shards
from diffusionlm.tokenizer import ByteTokenizer, train_bpe
from tests.diffusionlm.data.doubles import WideTokenizer, texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_data(texts([50] * 40), ByteTokenizer(), tmp_path / "out", shard_tokens=300)
    return tmp_path / "out"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def edit_index(folder: Path, **changes: object) -> None:
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_all_is_well(folder: Path) -> None:
    found = verify_shards(folder)
    assert found.problems == []
    assert (found.n_shards, found.n_documents, found.n_tokens, found.n_bytes) == (8, 40, 2040, 2000)
    assert found.tokenizers == {ByteTokenizer().fingerprint(): "index.json"}


def other_shard(folder: Path) -> None:
    """A whole shard of another tokenizer."""
    tokenizer = WideTokenizer()
    part = EncodedDocuments(np.array([5, 69_999], "<u4"), np.array([2]), np.array([1]), np.array([7], np.uint64))
    identity = {"vocab_size": tokenizer.vocab_size, "eos_id": tokenizer.eos_id}
    write_shard(folder / "shard-00003.bin", [part], tokenizer=tokenizer.fingerprint(), **identity)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: flip(f / "shard-00002.bin", -1), ["shard-00002.bin' is damaged: its SHA-256"]),
        (lambda f: flip(f / "shard-00002.bin", 60), ["shard-00002.bin' is damaged: its header"]),
        (lambda f: flip(f / "shard-00002.bin", 0), ["shard-00002.bin' is not a token shard"]),
        (lambda f: cut(f / "shard-00001.bin"), ["shard-00001.bin' is truncated"]),
        (lambda f: (f / "shard-00007.bin").unlink(), ["cannot read shard"]),
        (lambda f: shutil.copy(f / "shard-00001.bin", f / "shard-00002.bin"), ["is not the one that index.json names"]),
        (lambda f: shutil.copy(f / "shard-00001.bin", f / "shard-00008.bin"), ["00008.bin' is not in index.json"]),
        (other_shard, ["00003.bin' is not the one that index.json names", "are of several tokenizers (index.json "]),
        (lambda f: edit_index(f, fingerprint="0" * 64), ["has another fingerprint than its shards"]),
        (lambda f: edit_index(f, tokenizer="0" * 64), ["has another fingerprint", "are of several tokenizers"]),
        (lambda f: edit_index(f, n_tokens=7), ["has other totals than its shards"]),
        (lambda f: (f / "journal.json").write_text("{"), ["journal.json' is damaged"]),
        (lambda f: (f / "index.json").write_text("{"), ["index.json' is damaged"]),
        (lambda f: (f / "index.json").unlink(), ["has no index.json"]),
        (lambda f: shutil.rmtree(f / "tokenizer"), ["no tokenizer at"]),
        (
            lambda f: [flip(f / "shard-00000.bin", -1), cut(f / "shard-00001.bin"), (f / "shard-00002.bin").unlink()],
            ["shard-00000.bin' is damaged", "shard-00001.bin' is truncated", "cannot read shard"],
        ),
        (
            lambda f: [(f / "index.json").unlink(), flip(f / "shard-00004.bin", -1)],
            ["has no index.json", "shard-00004.bin' is damaged"],
        ),
    ],
)
def test_each_damage_is_one_line(folder: Path, damage: Callable[[Path], object], said: list[str]) -> None:
    damage(folder)
    problems = verify_shards(folder).problems
    assert len(problems) == len(said), problems
    for problem, part in zip(problems, said):
        assert part in problem
        assert "\n" not in problem


def test_a_tokenizer_that_is_not_the_shards(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    train_bpe(["some words, some words"] * 3, 260).save(folder / "tokenizer")
    (problem,) = verify_shards(folder).problems
    assert "is not the one that made the shards" in problem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": [97, 97, 256]}, "documents that do not end with token 256"),
        ({"sizes": [1, 0]}, "sizes that do not add up"),
        ({"tokens": [97, 256, 300, 256]}, "holds token 300, and its tokenizer has 257"),
        ({"lengths": [4, 0]}, "offsets that are not those of documents end to end"),
    ],
)
def test_a_whole_shard_that_contradicts_itself(tmp_path: Path, change: dict[str, list[int]], said: str) -> None:
    """What no damage makes, and a writer at fault would."""
    columns = {"tokens": [97, 256, 98, 256], "lengths": [2, 2], "sizes": [1, 1], **change}
    if len(columns["tokens"]) == 3:
        columns["lengths"] = [2, 1]
    part = EncodedDocuments(
        np.array(columns["tokens"], "<u2"),
        np.array(columns["lengths"]),
        np.array(columns["sizes"]),
        np.array([1, 2], np.uint64),
    )
    make_data([b"a"], ByteTokenizer(), tmp_path / "out")
    (tmp_path / "out" / "index.json").unlink()
    identity = {"tokenizer": ByteTokenizer().fingerprint(), "vocab_size": 257, "eos_id": 256}
    write_shard(tmp_path / "out" / "shard-00000.bin", [part], **identity)
    problems = verify_shards(tmp_path / "out").problems
    assert len(problems) == 2, problems
    assert said in problems[1]
