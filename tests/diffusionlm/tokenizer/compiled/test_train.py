"""Compiled training against the reference: the same counts and the same merges, ties included."""

from __future__ import annotations

import random
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.tokenizer import EOS, train_bpe
from diffusionlm.tokenizer.compiled import train
from diffusionlm.tokenizer.compiled.engine import PATTERN_CODES
from diffusionlm.tokenizer.counting import count_words
from diffusionlm.tokenizer.pretokenize import PATTERNS
from diffusionlm.tokenizer.train import learn_merges
from diffusionlm.tokenizer.training import Words
from tests.diffusionlm.tokenizer.conftest import TEXT
from tests.diffusionlm.tokenizer.test_bpe import UNICODE


def compiled_words(pieces: list[bytes], pattern: str = "gpt2", threads: int = 2) -> Words:
    counter = train.ParallelCounter(PATTERN_CODES[pattern], threads)
    counter.add(pieces)
    return Words(*counter.gathered().words())


def compiled_merges(pieces: list[bytes], n_merges: int, threads: int) -> list[tuple[bytes, bytes]] | None:
    return train.learn_merges(compiled_words(pieces, threads=threads), n_merges)


def compiled_counts(pieces: list[bytes], pattern: str = "gpt2", threads: int = 2) -> Counter[bytes]:
    text, lengths, counts = compiled_words(pieces, pattern, threads)
    place, found = 0, Counter()
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        found[text[place : place + length].tobytes()] += count
        place += length
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
@given(st.lists(UNICODE, max_size=4), st.binary(max_size=40))
@settings(max_examples=80, deadline=None)
def test_counts(pattern: str, texts: list[str], rest: bytes) -> None:
    pieces = [*(text.encode() for text in texts), rest]
    assert compiled_counts(pieces, pattern) == count_words(pieces, pattern)  # type: ignore[arg-type]


@given(st.lists(st.text(st.sampled_from("aab cd\n"), min_size=1, max_size=60), min_size=1, max_size=5))
@settings(max_examples=120, deadline=None)
def test_merges_with_many_ties(texts: list[str]) -> None:
    pieces = [text.encode() for text in texts]
    counts = count_words(pieces)
    merges = compiled_merges(pieces, 60, 1)
    assert merges == (learn_merges(counts, 60) if counts else None)


def test_merges_of_real_text() -> None:
    folder = Path(sysconfig.get_paths()["stdlib"])
    pieces = [path.read_bytes() for path in sorted(folder.glob("[a-c]*.py"))]
    merges = compiled_merges(pieces, 3000, 2)
    assert merges == learn_merges(count_words(pieces), 3000)


def test_long_words_that_share_their_beginning() -> None:
    generator = random.Random(0)
    words = [("x" * 30 + "".join(generator.choice("ab") for _ in range(20))).encode() for _ in range(3000)]
    pieces = [b" ".join(words[i : i + 100]) for i in range(0, 3000, 100)]
    assert compiled_counts(pieces) == count_words(pieces)


def test_the_whole_recipe_is_the_same() -> None:
    texts = [TEXT, f"cut {EOS} here", TEXT.upper()]
    one, other = (train_bpe(texts, 400, compiled=compiled) for compiled in (False, True))
    assert one.fingerprint() == other.fingerprint()
    once = compiled_merges([TEXT.encode()], 90, 1)
    for threads in (1, 3):  # the same words seven times over: the counts grow, their order stays
        assert compiled_merges([TEXT.encode()] * 7, 90, threads) == once
