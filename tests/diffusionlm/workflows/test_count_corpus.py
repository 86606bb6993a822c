"""A corpus on its way into a training: what is told and saved meanwhile, and how a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from diffusionlm.data.counted import Counted, read_counted
from diffusionlm.data.split import document_hash
from diffusionlm.errors import DataError
from diffusionlm.tokenizer.train import BPETraining
from diffusionlm.training.signals import StopRequest, Terminated
from diffusionlm.workflows import count_corpus
from diffusionlm.workflows.count_corpus import REPORTED_BYTES, CorpusReader

DOCUMENTS = [f"document {n} of some words, some words".encode() for n in range(12)]


@pytest.fixture(autouse=True)
def _save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_corpus, "SAVING_SHARE", 1e9)


def reader(
    folder: Path, documents: Iterable[bytes] = DOCUMENTS, counted: Counted | None = None, seconds: float = 1e-9
) -> CorpusReader:
    return CorpusReader(BPETraining(280), documents, folder, seconds, StopRequest(), lambda *so_far: None, counted)


def test_what_is_taken_is_told_at_each_megabyte_and_at_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int | None, int]] = []
    documents = [b"a" * (REPORTED_BYTES // 2)] * 5
    one = reader(tmp_path, documents, seconds=1e9)
    one.progress = lambda *so_far: told.append(so_far)
    one.read()
    assert told == [(n, None, n * REPORTED_BYTES // 2) for n in (2, 4, 5)]
    assert not list(tmp_path.iterdir()), "nothing was due"


def test_what_is_saved_after_each_document_is_a_place_to_go_on_from(tmp_path: Path) -> None:
    whole = reader(tmp_path, seconds=1e9)
    whole.read()
    expected = whole.training.finish().fingerprint()

    def cut_off(after: int) -> Iterator[bytes]:
        yield from DOCUMENTS[:after]
        raise OSError("the process ends here")

    for after in range(2, len(DOCUMENTS)):
        folder = tmp_path / str(after)
        folder.mkdir()
        with pytest.raises(OSError, match="the process ends here"):
            reader(folder, cut_off(after)).read()
        counted = read_counted(folder)
        assert counted is not None
        assert (counted.documents, counted.last_document) == (after, document_hash(DOCUMENTS[after - 1]))
        assert counted.size == sum(map(len, DOCUMENTS[:after]))
        again = reader(folder, counted=counted)
        again.read()
        assert again.training.finish().fingerprint() == expected


def test_saving_waits_where_it_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents take a second each, saving takes two; a fiftieth of the time is left for it."""
    now, saved = [0.0], []

    def slow(folder: Path, counted: Counted) -> None:
        saved.append((counted.documents, now[0]))
        now[0] += 2.0

    def documents() -> Iterator[bytes]:
        for number in range(400):
            now[0] += 1.0
            yield b"%d" % number

    monkeypatch.setattr(count_corpus, "SAVING_SHARE", 0.02)
    monkeypatch.setattr(count_corpus.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(count_corpus, "write_counted", slow)
    reader(tmp_path, documents(), seconds=20.0).read()
    assert saved == [(20, 20.0), (120, 122.0), (220, 224.0), (320, 326.0)]


@pytest.mark.parametrize(("name", "kind"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", Terminated)])
def test_a_signal_saves_what_is_counted(tmp_path: Path, name: str, kind: type[KeyboardInterrupt]) -> None:
    one = reader(tmp_path, (), seconds=1e9)

    def documents() -> Iterator[bytes]:
        for number, document in enumerate(DOCUMENTS):
            if number == 5:
                one.stop.receive(signal.Signals[name], None)
            yield document

    one._rest = documents()
    with pytest.raises(kind) as caught:
        one.read()
    assert type(caught.value) is kind
    counted = read_counted(tmp_path)
    assert counted is not None
    assert counted.documents == 6


def test_a_signal_while_documents_are_passed_over_ends_at_once(tmp_path: Path) -> None:
    one = reader(tmp_path)
    one.read()
    counted = Counted(8, 0, document_hash(DOCUMENTS[7]), one.training.words())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    passed: list[bytes] = []

    def documents() -> Iterator[bytes]:
        for document in DOCUMENTS:
            passed.append(document)
            if len(passed) == 3:
                again.stop.receive(signal.SIGTERM, None)
            yield document

    again = reader(tmp_path, documents(), counted)
    with pytest.raises(Terminated):
        again.read()
    assert len(passed) == 3
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("documents", [DOCUMENTS[1:], DOCUMENTS[:4]])
def test_a_corpus_that_has_shifted_is_noticed(tmp_path: Path, documents: list[bytes]) -> None:
    counted = Counted(5, 0, document_hash(DOCUMENTS[4]), BPETraining(280).words())
    with pytest.raises(DataError) as caught:
        reader(tmp_path, documents, counted).read()
    assert str(caught.value) == (
        f"cannot go on with the tokenizer in {str(tmp_path)!r}: document 5 of the corpus is not the one that was "
        "counted last; give the corpus that it was begun with, or choose another output folder"
    )
