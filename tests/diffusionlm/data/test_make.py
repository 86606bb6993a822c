from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from diffusionlm.data import make
from diffusionlm.data.make import make_data
from diffusionlm.data.shards import ShardHeader, open_shards
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer, load_tokenizer
from tests.diffusionlm.data.doubles import texts
from tests.diffusionlm.tokenizer.families import change, family, write

DOCUMENTS = texts([400_000, 10, 700_000, 3, 500_000, 900_000, *[1000] * 1500])


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_number_of_workers_does_not_change_a_byte(tmp_path: Path) -> None:
    for workers in (1, 2):
        make_data(DOCUMENTS, ByteTokenizer(), tmp_path / str(workers), shard_tokens=600_000, workers=workers)
    alone, together = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert alone == together
    assert len([name for name in alone if name.startswith("shard-")]) > 3


def test_shards_end_where_documents_do_and_hold_the_size_asked_for(tmp_path: Path) -> None:
    made = make_data(DOCUMENTS, ByteTokenizer(), tmp_path / "out", shard_tokens=600_000)
    store = open_shards(tmp_path / "out")
    sizes = [len(array) for array in store.arrays]
    assert len(sizes) == made.n_shards
    alone = [size for size in sizes if size > 600_000]
    assert sorted(alone) == [700_001, 900_001], "only a document that is longer than a shard exceeds its size"
    starts = np.cumsum(sizes)[:-1]
    following = {int(s): int(n) for s, n in zip(store.starts, store.lengths)}
    assert all(size + following[int(start)] > 600_000 for size, start in zip(sizes, starts)), "no shard ends early"
    assert store.n_documents == made.n_documents == len(DOCUMENTS)
    ends = {int(end) for end in store.starts + store.lengths}
    total = 0
    for size in sizes:
        total += size
        assert total in ends


def test_the_tokenizer_lies_beside_the_shards(tmp_path: Path) -> None:
    make_data([b"a"], ByteTokenizer(), tmp_path / "out")
    assert load_tokenizer(tmp_path / "out" / "tokenizer").fingerprint() == ByteTokenizer().fingerprint()


@pytest.mark.parametrize(
    ("name", "place", "value"), [("qwen3", "version", "1.0"), ("gpt2", "model.byte_fallback", True)]
)
def test_shards_of_a_tokenizer_json_know_it_again(tmp_path: Path, name: str, place: str, value: object) -> None:
    """By our own encoder and by the package's."""
    tokenizer = load_tokenizer(write(tmp_path / "some.json", change(family(name), place, value)))
    documents = ["the fox <think> e\u0301".encode(), b"<|endoftext|> in a text"]
    for workers in (1, 2):
        make_data(documents, tokenizer, tmp_path / str(workers), workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    again, store = load_tokenizer(tmp_path / "1" / "tokenizer"), open_shards(tmp_path / "1")
    store.check_tokenizer(again, "these shards")
    for i, document in enumerate(documents):
        assert store.document(i).tolist() == [*tokenizer.encode(document), tokenizer.eos_id]


def test_progress_counts_everything(tmp_path: Path) -> None:
    calls: list[tuple[int, int, int]] = []
    made = make_data(DOCUMENTS, ByteTokenizer(), tmp_path / "out", progress=lambda *counts: calls.append(counts))
    assert len(calls) > 2
    assert calls == sorted(calls)
    assert calls[-1] == (made.n_documents, made.n_tokens, made.n_bytes)


def test_an_output_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"^output folder .* is not empty; choose another one or empty it$"):
        make_data([b"a"], ByteTokenizer(), tmp_path)
    assert contents(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(DataError, match=r"notes.txt' is a file; give a folder"):
        make_data([b"a"], ByteTokenizer(), tmp_path / "notes.txt")


@pytest.mark.parametrize("existed", [True, False])
def test_no_documents(tmp_path: Path, existed: bool) -> None:
    folder = tmp_path / "out"
    if existed:
        folder.mkdir()
    with pytest.raises(DataError, match="there are no documents to write"):
        make_data([b"", b""], ByteTokenizer(), folder)
    assert folder.exists() == existed
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_removes_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    written = 0

    def full(*args: object, **kwargs: object) -> ShardHeader:
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    real = make.write_shard
    monkeypatch.setattr(make, "write_shard", full)
    with pytest.raises(OSError, match="No space left") as caught:
        make_data(DOCUMENTS, ByteTokenizer(), tmp_path / "out", shard_tokens=600_000, workers=workers)
    assert caught.value.errno == errno.ENOSPC
    assert written == 3
    assert not (tmp_path / "out").exists()


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield from DOCUMENTS[:6]
        raise DataError("line 7 is not JSON")

    with pytest.raises(DataError, match="line 7"):
        make_data(failing(), ByteTokenizer(), tmp_path / "out", shard_tokens=600_000)
    assert list(tmp_path.iterdir()) == []
