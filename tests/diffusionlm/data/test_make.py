from __future__ import annotations

import errno
import multiprocessing
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusionlm.data import make
from diffusionlm.data.encode import EncodedDocuments
from diffusionlm.data.make import make_data
from diffusionlm.data.shards import ShardHeader, open_shards
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer, load_tokenizer
from tests.diffusionlm.data.doubles import WideTokenizer, texts
from tests.diffusionlm.tokenizer.families import change, family, write

DOCUMENTS = texts([400_000, 10, 700_000, 3, 500_000, 900_000, *[1000] * 1500])


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process has written outlives it without being flushed; only a machine's end would need that."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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


def test_an_output_where_no_folder_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "out")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"out' cannot be made there; choose another place$"):
        make_data([b"a"], ByteTokenizer(), tmp_path / "out")


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
@pytest.mark.parametrize("full_at", [1, 3])
def test_a_full_disk_loses_the_current_shard_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, full_at: int
) -> None:
    written = 0

    def full(*args: object, **kwargs: object) -> ShardHeader:
        nonlocal written
        written += 1
        if written == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    real = make.write_shard
    monkeypatch.setattr(make, "write_shard", full)
    out = tmp_path / "out"
    with pytest.raises(OSError, match="No space left") as caught:
        make_data(DOCUMENTS, ByteTokenizer(), out, shard_tokens=600_000, workers=workers)
    assert caught.value.errno == errno.ENOSPC
    assert written == full_at
    assert not multiprocessing.active_children()
    if full_at == 1:
        assert not out.exists()
        return
    assert [name for name in contents(out) if "shard" in name] == ["shard-00000.bin", "shard-00001.bin"]
    assert not (out / "index.json").exists()
    monkeypatch.undo()
    make_data(DOCUMENTS, ByteTokenizer(), out, shard_tokens=600_000, workers=workers, resume=True)
    assert contents(out) == unbroken(tmp_path)


def test_a_source_that_fails_leaves_nothing_where_nothing_was_finished(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield from DOCUMENTS[:1]
        raise DataError("line 2 is not JSON")

    with pytest.raises(DataError, match="line 2"):
        make_data(failing(), ByteTokenizer(), tmp_path / "out", shard_tokens=600_000)
    assert list(tmp_path.iterdir()) == []


def unbroken(tmp_path: Path, **options: Any) -> dict[str, bytes]:
    """Return the files of a run that nothing broke."""
    folder = tmp_path / "unbroken"
    make_data(options.pop("documents", DOCUMENTS), ByteTokenizer(), folder, **{"shard_tokens": 600_000, **options})
    return contents(folder)


class Killed(BaseException):
    """Stands in for the end of a process."""


SMALL = [*texts([90, 40, 120, 5, 300, 60, 60]), b"copy", b"", b"copy", *texts([80, 90]), b"copy", b"last"]


def steps_on_disk(monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], at: int) -> list[int]:
    """Let the ``at``-th thing that is done to the disk, or what follows it at once, be the end; return the count."""
    count = [0]
    replace = Path.replace

    def step() -> None:
        count[0] += 1
        if count[0] == at:
            end()

    def counted_replace(path: Path, target: Path) -> Path:
        step()
        done = replace(path, target)
        step()
        return done

    monkeypatch.setattr(Path, "replace", counted_replace)
    monkeypatch.setattr(os, "fsync", lambda descriptor: step())
    return count


@pytest.mark.parametrize("deduplicate", [False, True])
def test_ended_at_any_step_it_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deduplicate: bool
) -> None:
    options: dict[str, Any] = {"shard_tokens": 200, "deduplicate": deduplicate}
    whole = unbroken(tmp_path, documents=SMALL, **options)
    assert len([name for name in whole if name.startswith("shard-")]) >= 4

    def end() -> None:
        raise Killed

    at = 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            steps_on_disk(patch, end, at)
            try:
                make_data(SMALL, ByteTokenizer(), folder, **options)
                break
            except Killed:
                pass
        made = make_data(SMALL, ByteTokenizer(), folder, resume=True, **options)
        assert contents(folder) == whole, at
        assert made.n_duplicates == (2 if deduplicate else 0)
    assert at > 4 * 5, "the journal and a shard each take four steps and a rename"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("deduplicate", [False, True])
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deduplicate: bool
) -> None:
    """A forked process that ends without cleaning up, several times over, until one comes through."""
    options: dict[str, Any] = {"shard_tokens": 200, "deduplicate": deduplicate}
    whole = unbroken(tmp_path, documents=SMALL, **options)
    ends = []
    for at in (*range(1, 24), 11, 5):  # a resumed run is killed at the next step, and the last ones twice
        folder = tmp_path / ("out" if at % 2 else f"out-{at}")
        child = os.fork()
        if child == 0:
            steps_on_disk(monkeypatch, lambda: os._exit(9), at)
            make_data(SMALL, ByteTokenizer(), folder, resume=True, **options)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert not (folder / "index.json").exists() or contents(folder) == whole
    assert ends.count(9) > 10
    for folder in tmp_path.glob("out*"):
        make_data(SMALL, ByteTokenizer(), folder, resume=True, **options)
        assert contents(folder) == whole, folder


def test_resuming_what_is_finished_reads_nothing(tmp_path: Path) -> None:
    def unreadable() -> Iterator[bytes]:
        raise AssertionError("read again")
        yield b""

    first = make_data(SMALL, ByteTokenizer(), tmp_path / "out", shard_tokens=200, deduplicate=True)
    again = make_data(unreadable(), ByteTokenizer(), tmp_path / "out", shard_tokens=200, deduplicate=True, resume=True)
    assert again == replace(first, digest_bytes=0)


def half_made(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Leave a folder with two finished shards."""
    with monkeypatch.context() as patch:

        def end() -> None:
            raise Killed

        steps_on_disk(patch, end, 22)
        with pytest.raises(Killed):
            make_data(SMALL, ByteTokenizer(), folder, **options)
    assert len(list(folder.glob("shard-*.bin"))) >= 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shard_tokens": 300}, "shard_tokens was 200, now it is 300"),
        ({"deduplicate": True}, "deduplicate was false, now it is true"),
        ({"settings": {"corpus": "b" * 64}}, r'corpus changed from "aaaaaaaaaaaa…" to "bbbbbbbbbbbb…"'),
        ({"settings": {"corpus": "a" * 64, "new": 1}}, "new was unset, now it is 1"),
        ({"settings": {}}, 'corpus changed from "aaaaaaaaaaaa…" to unset'),
        ({"tokenizer": WideTokenizer()}, r'tokenizer changed from ".*…" to ".*…"'),
        ({"documents": SMALL[1:]}, r"document 4 of the corpus is not the one that they end with"),
        ({"documents": SMALL[:2]}, r"document 4 of the corpus is not the one that they end with"),
    ],
)
def test_something_else_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "out"
    options: dict[str, Any] = {"shard_tokens": 200, "settings": {"corpus": "a" * 64}}
    half_made(folder, monkeypatch, **options)
    before = contents(folder)
    given = {"documents": SMALL, "tokenizer": ByteTokenizer(), **options, **changed}
    with pytest.raises(DataError, match=f"^cannot go on with the shards in .*: {said}") as caught:
        make_data(given.pop("documents"), given.pop("tokenizer"), folder, resume=True, **given)
    assert "\n" not in str(caught.value)
    assert {name: data for name, data in contents(folder).items() if "journal" not in name} == {
        name: data for name, data in before.items() if "journal" not in name
    }


def test_a_finished_shard_that_is_damaged_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    half_made(folder, monkeypatch, shard_tokens=200)
    shard = folder / "shard-00000.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"shard-00000.bin' is truncated"):
        make_data(SMALL, ByteTokenizer(), folder, shard_tokens=200, resume=True)
    shard.write_bytes((folder / "shard-00001.bin").read_bytes())
    with pytest.raises(DataError, match=r"shard-00000.bin' is not the one that journal.json names"):
        make_data(SMALL, ByteTokenizer(), folder, shard_tokens=200, resume=True)
    shard.write_bytes(whole)
    (folder / "journal.json").write_text("{")
    with pytest.raises(DataError, match=r"journal.json' is damaged; remove the folder"):
        make_data(SMALL, ByteTokenizer(), folder, shard_tokens=200, resume=True)
    (folder / "journal.json").write_text('{"version": 99}')
    with pytest.raises(DataError, match=r"has format version 99, this program reads 1"):
        make_data(SMALL, ByteTokenizer(), folder, shard_tokens=200, resume=True)


def test_a_folder_of_other_things_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        make_data([b"a"], ByteTokenizer(), tmp_path, resume=True)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_memory_holds_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of a shard are let go before the next one is collected."""
    alive: list[weakref.ref[np.ndarray]] = []
    held: list[int] = []
    real = make.write_shard

    def watched(path: Path, parts: list[EncodedDocuments], **identity: Any) -> ShardHeader:
        alive.extend(weakref.ref(part.tokens) for part in parts)
        return real(path, parts, **identity)

    def documents() -> Iterator[bytes]:
        for document in texts([600_000] * 12):
            held.append(sum(written() is not None for written in alive))
            yield document

    monkeypatch.setattr(make, "write_shard", watched)
    made = make_data(documents(), ByteTokenizer(), tmp_path / "out", shard_tokens=1_300_000)
    assert made.n_shards == len(alive) == 6
    assert held == [0] * 12, "tokens that had been written were still there when a later document was read"
