"""Words counted in parts, taken out and put back: the same counts and the same tokenizer as in one go."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.tokenizer import counting
from diffusionlm.tokenizer.counting import WordCounter, count_words
from diffusionlm.tokenizer.train import BPETraining, train_bpe
from diffusionlm.tokenizer.training import Words
from tests.diffusionlm.tokenizer.conftest import TEXT

PIECES = st.lists(st.text(st.sampled_from("ab cé\n"), max_size=30).map(str.encode), max_size=8)


def as_counter(words: Words) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    place = 0
    for length, count in zip(words.lengths.tolist(), words.counts.tolist(), strict=True):
        found[words.text[place : place + length].tobytes()] += count
        place += length
    return found


@pytest.mark.parametrize("compiled", [False, True])
@given(PIECES, st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_parts_and_another_counter_change_nothing(compiled: bool, pieces: list[bytes], one: int, other: int) -> None:
    first, second = sorted((one, other))
    counter = WordCounter("gpt2", compiled)
    counter.add(pieces[:first])
    counter.add(pieces[first:second])
    taken = counter.words()
    counter.add(pieces[second:])
    again = WordCounter("gpt2", compiled)
    again.restore(taken)
    again.add(pieces[second:])
    assert as_counter(counter.words()) == as_counter(again.words()) == count_words(pieces)


def test_it_grows_into_the_compiled_counter_wherever_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "worthwhile", lambda size, wanted: size >= 100)
    pieces = [TEXT[i : i + 20].encode() for i in range(0, 400, 20)]
    for cut in range(len(pieces)):
        counter = WordCounter("gpt2")
        counter.add(pieces[:cut])
        assert (counter.large is not None) == (sum(map(len, pieces[:cut])) >= 100)
        again = WordCounter("gpt2")
        again.restore(counter.words())
        again.add(pieces[cut:])
        assert again.large is not None
        assert not again.small
        assert as_counter(again.words()) == count_words(pieces)


def test_without_the_compiler_no_more_than_a_block_of_text_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "WORTHWHILE", 10)
    counted: list[int] = []

    def watched(block: list[bytes], pattern: str) -> Counter[bytes]:
        counted.append(len(block))
        return count_words(block)

    monkeypatch.setattr(counting, "count_words", watched)
    counter = WordCounter("gpt2", compiled=False)
    counter.add(b"abc" for _ in range(40))
    assert counted == [4] * 10
    assert counter.small == {b"abc": 40}


@pytest.mark.filterwarnings("ignore:the corpus ran out of pairs")
@pytest.mark.parametrize("train_bytes", [1, 30, 31, 64, 1000])
def test_a_training_in_parts_reads_as_far_as_one_in_one_go(train_bytes: int) -> None:
    documents = [b"abab cdcd ", "é ab ab".encode(), b"cd cd cd cd ", b"ab abab", b"the rest of it "]
    whole = train_bpe(documents, 262, train_bytes=train_bytes)
    for cut in range(len(documents)):
        first, second = (BPETraining(262, train_bytes=train_bytes) for _ in range(2))
        first.read(documents[:cut])
        second.restore(first.words(), first.size)
        assert second.full == (first.size >= train_bytes)
        second.read(documents[cut:])
        assert second.finish().fingerprint() == whole.fingerprint()


def test_a_training_that_has_enough_takes_nothing() -> None:
    training = BPETraining(260, train_bytes=3)
    training.read([b"ab ab"])
    assert training.full
    training.read(pytest.fail("read") for _ in range(1))
    assert as_counter(training.words()) == {b"ab": 1, b" ": 1}
