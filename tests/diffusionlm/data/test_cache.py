from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from diffusionlm.data import cache
from diffusionlm.data.cache import UnwritableCache, cache_folder, cached_store
from diffusionlm.data.store import store_in_memory
from diffusionlm.errors import DataError, TokenizerError
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import ListDocuments, WideTokenizer, texts


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("none") is None
    assert cache_folder("some/where") == Path("some/where")
    monkeypatch.setenv("FLOWLM_CACHE", "elsewhere")
    assert cache_folder("auto") == Path("elsewhere")
    monkeypatch.setenv("FLOWLM_CACHE", "")
    assert cache_folder("auto") == Path.home() / ".cache" / "flowlm"
    monkeypatch.delenv("FLOWLM_CACHE")
    assert cache_folder("auto") == Path.home() / ".cache" / "flowlm"


def test_without_a_home_folder_the_cache_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLM_CACHE", "~no-such-user/x")
    with pytest.raises(UnwritableCache, match=r"no home folder is known .* set data.cache to a folder or to 'none'"):
        cache_folder("auto")


def test_text_is_read_once_per_tokenizer(tmp_path: Path) -> None:
    documents = ListDocuments(texts([5, 50, 500]))
    first = cached_store(documents, ByteTokenizer(), tmp_path, 1)
    assert documents.times_read == 1
    again = cached_store(documents, ByteTokenizer(), tmp_path, 1)
    assert documents.times_read == 1
    memory = store_in_memory(documents, ByteTokenizer())
    assert first.fingerprint == again.fingerprint == memory.fingerprint
    assert again.document(2).tolist() == memory.document(2).tolist()
    wide = cached_store(documents, WideTokenizer(), tmp_path, 1)
    assert documents.times_read == 3
    assert wide.eos_id == 69_999
    cached_store(ListDocuments(texts([5, 50])), ByteTokenizer(), tmp_path, 1)
    assert len(list((tmp_path / "tokens").iterdir())) == 3


def test_a_failure_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="the corpus is empty"):
        cached_store(ListDocuments([]), ByteTokenizer(), tmp_path, 1)
    assert list((tmp_path / "tokens").iterdir()) == []

    def unsaved(self: ByteTokenizer, folder: Path) -> None:
        raise TokenizerError("cannot write the tokenizer") from OSError(errno.ENOSPC, "No space left on device")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "make_data", full)
    with pytest.raises(UnwritableCache, match=r"cannot write the token cache .*: No space left on device; set data.c"):
        cached_store(ListDocuments([b"a"]), ByteTokenizer(), tmp_path, 1)

    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(ByteTokenizer, "save", unsaved)
        with pytest.raises(UnwritableCache, match=r"cannot write the token cache .*: No space left on device; set da"):
            cached_store(ListDocuments([b"a"]), ByteTokenizer(), tmp_path, 1)
    assert list((tmp_path / "tokens").iterdir()) == []

    def forbidden(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache, "make_data", forbidden)
    with pytest.raises(UnwritableCache, match=r"cannot write the token cache .*: Read-only .*; set data.cache to a"):
        cached_store(ListDocuments([b"a"]), ByteTokenizer(), tmp_path, 1)


def test_another_run_may_make_the_same_entry_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = ListDocuments(texts([5, 50]))
    real = cache.make_data

    def overtaken(given: ListDocuments, tokenizer: ByteTokenizer, folder: Path, workers: int) -> None:
        real(given, tokenizer, folder, workers=workers)
        real(given, tokenizer, folder.with_name(folder.name.split(".")[0]), workers=workers)

    monkeypatch.setattr(cache, "make_data", overtaken)
    assert cached_store(documents, ByteTokenizer(), tmp_path, 1).n_documents == 2
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_damage_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    documents = ListDocuments(texts([5, 50]))
    cached_store(documents, ByteTokenizer(), tmp_path, 1)
    (shard,) = tmp_path.glob("tokens/*/shard-00000.bin")
    data = bytearray(shard.read_bytes())
    data[-3] ^= 4
    shard.write_bytes(data)
    with pytest.raises(
        DataError, match=r"^the token cache is damaged, delete .*tokens.* and start again \(shard .*\)$"
    ):
        cached_store(documents, ByteTokenizer(), tmp_path, 1)


def test_what_a_killed_run_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    ages = {"killed.1.tmp": 25 * 3600, "running.2.tmp": 3600, "finished": 99 * 3600}
    for name, age in ages.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "shard-00000.bin").write_bytes(b"x")
        then = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (then, then))
    cached_store(ListDocuments([b"text"]), ByteTokenizer(), tmp_path, 1)
    left = {path.name for path in folder.iterdir()}
    assert {"running.2.tmp", "finished"} < left
    assert "killed.1.tmp" not in left
    assert len(left) == 3
