"""The compiled encoder against the reference: the same ids for texts, batches, streams and threads."""

from __future__ import annotations

import pickle
import random
import sys
import sysconfig
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.tokenizer import EOS, BPETokenizer, train_bpe
from diffusionlm.tokenizer.compiled.encode import WORDS, Memory
from diffusionlm.tokenizer.pretokenize import PATTERNS, Pattern
from tests.diffusionlm.tokenizer.conftest import TEXT
from tests.diffusionlm.tokenizer.test_bpe import UNICODE, reference, tiktoken_of

MERGES = train_bpe([TEXT, TEXT.upper(), "aaaa bbbb abab"], 420, compiled=False).merges


def both(pattern: Pattern = "gpt2") -> tuple[BPETokenizer, BPETokenizer]:
    """Return the reference and the compiled tokenizer of one vocabulary."""
    reference = BPETokenizer.from_merges(MERGES, [EOS], pattern)
    reference.compiled = False
    compiled = BPETokenizer.from_merges(MERGES, [EOS], pattern)
    compiled.compiled = True
    return reference, compiled


BOTH = {pattern: both(pattern) for pattern in PATTERNS}


@pytest.mark.parametrize("pattern", PATTERNS)
class TestAgainstTheReference:
    @given(UNICODE)
    @settings(max_examples=120, deadline=None)
    def test_text(self, pattern: str, text: str) -> None:
        reference, compiled = BOTH[pattern]
        ids = compiled.encode(text)
        assert ids == reference.encode(text)
        assert compiled.decode_bytes(ids) == text.encode()

    @given(st.binary(max_size=60))
    @settings(max_examples=120, deadline=None)
    def test_any_bytes_come_back(self, pattern: str, data: bytes) -> None:
        reference, compiled = BOTH[pattern]
        ids = compiled.encode(data)
        assert ids == reference.encode(data)
        assert compiled.decode_bytes(ids) == data

    @given(UNICODE, st.lists(st.integers(1, 9), min_size=1, max_size=8))
    @settings(max_examples=120, deadline=None)
    def test_a_stream_cut_anywhere(self, pattern: str, text: str, sizes: list[int]) -> None:
        reference, compiled = BOTH[pattern]
        data, chunks, place = text.encode(), [], 0
        while place < len(data):
            size = sizes[len(chunks) % len(sizes)]
            chunks.append(data[place : place + size])
            place += size
        assert list(compiled.encode_iterable(chunks)) == reference.encode(text)
        assert list(reference.encode_iterable(chunks)) == reference.encode(text)

    def test_batches_and_threads(self, pattern: str) -> None:
        reference, compiled = BOTH[pattern]
        texts = [TEXT[i : i + 70] for i in range(0, len(TEXT), 7)] + ["", "x"]
        wanted = [reference.encode(text) for text in texts]
        assert compiled.encode_batch(texts) == wanted
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(compiled.encode, texts * 3)) == wanted * 3
        ids, sizes = compiled.encode_documents([text.encode() for text in texts])
        assert sizes.tolist() == [len(one) for one in wanted]
        assert ids.tolist() == [id for one in wanted for id in one]
        engine = compiled.engine(0)
        assert engine is not None
        assert engine.encode_split(TEXT.encode()).tolist() == reference.encode(TEXT)


def test_the_memory_is_emptied_when_full_and_the_ids_stay() -> None:
    """More distinct words than the table remembers, short ones and long ones."""
    generator = random.Random(0)
    words = ["".join(generator.choice("abcdefgh") for _ in range(generator.randrange(2, 40))) for _ in range(20_000)]
    text = " ".join(words + words[:500])
    reference, compiled = both()
    engine, memory = compiled.engine(0), Memory(1 << 12)
    assert engine is not None
    engine._idle.put(memory)
    assert np.array_equal(compiled.encode_array(text), reference.encode_array(text))
    assert 0 < memory.arrays[3][WORDS] < 1 << 12 < len(set(words))


def test_lists_are_python_ints() -> None:
    compiled = BOTH["gpt2"][1]
    ids = compiled.encode(TEXT)
    assert ids == compiled.encode_array(TEXT).tolist() == compiled.encode_batch([TEXT])[0]
    assert {type(id) for id in ids} == {int}


def test_special_tokens_are_opt_in() -> None:
    reference, compiled = BOTH["gpt2"]
    text = f"one {EOS} two{EOS}"
    assert compiled.encode(text) == reference.encode(text)
    assert compiled.encode(text, allow_special=True) == reference.encode(text, allow_special=True)
    assert compiled.eos_id not in compiled.encode(text)
    assert compiled.encode_batch([text, "x"], allow_special=True)[0].count(compiled.eos_id) == 2


def test_a_megabyte_of_one_word_is_quick() -> None:
    """Linear, but for a logarithm: twice the word must not cost four times."""
    reference, compiled = BOTH["gpt2"]
    generator = random.Random(1)
    word = "".join(generator.choice("aehtn") for _ in range(1 << 20))
    assert compiled.encode(word[:4000]) == reference.encode(word[:4000])
    began = time.process_time()
    ids = compiled.encode_array(word)
    assert time.process_time() - began < 5.0
    assert compiled.decode_bytes(ids.tolist()) == word.encode()


def test_it_survives_pickling_and_names_the_same_vocabulary() -> None:
    reference, compiled = BOTH["qwen"]
    again = pickle.loads(pickle.dumps(compiled))
    assert again.encode(TEXT) == compiled.encode(TEXT)
    assert again.fingerprint() == reference.fingerprint() != BOTH["gpt2"][0].fingerprint()


def test_a_saved_pattern_comes_back(tmp_path: Path) -> None:
    from diffusionlm.tokenizer import load_tokenizer

    BOTH["gpt4"][0].save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.fingerprint() == BOTH["gpt4"][0].fingerprint()
    assert loaded.encode("it's 123456\n\n  x") == BOTH["gpt4"][0].encode("it's 123456\n\n  x")


def compiled_of(gpt2: BPETokenizer) -> BPETokenizer:
    return BPETokenizer(gpt2._vocab, gpt2.merges, gpt2.specials, compiled=True)


def test_real_text_with_the_vocabulary_of_gpt2(gpt2: BPETokenizer) -> None:
    """Against the reference on a part of the standard library; the whole of it is compared in the benchmark."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    data = b"".join(path.read_bytes() for path in sorted(folder.glob("[a-d]*.py")))[:300_000]
    compiled = compiled_of(gpt2)
    reference = BPETokenizer(gpt2._vocab, gpt2.merges, gpt2.specials, compiled=False)
    assert np.array_equal(compiled.encode_array(data), reference.encode_array(data))


COMMON = [
    *"  \n\t\r'sdtmlreva019.,!-_()",
    "\u00a0",
    "\u200d",
    "\ufe0f",
    "👩",
    "🏽",
    "é",
    "e\u0301",
    "中",
    "👩\u200d👩\u200d👧",
]
ALPHABETS = [
    [chr(c) for c in range(0x20, 0x7F)],
    COMMON,
    [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"],
]


def fuzzed(generator: random.Random) -> str:
    """Return a text of characters that every release of Unicode in use classifies alike, some of them in long runs."""
    parts = []
    for _ in range(generator.randrange(1, 60)):
        character = generator.choice(generator.choice(ALPHABETS))
        parts.append(character * (generator.randrange(2, 200) if generator.random() < 0.03 else 1))
    return "".join(parts)


class TestAgainstTiktoken:
    """GPT-2's ids as tiktoken has them; the tokenizers package is compared on a sample, it is slow."""

    @pytest.mark.slow
    def test_200_000_fuzzed_texts(self, gpt2: BPETokenizer, gpt2_folder: Path) -> None:
        theirs, generator = tiktoken_of(gpt2), random.Random(5)
        compiled, sample = compiled_of(gpt2), reference(gpt2_folder)
        for number in range(100):
            texts = [fuzzed(generator) for _ in range(2_000)]
            ids = compiled.encode_batch(texts)
            wanted = theirs.encode_ordinary_batch(texts)
            different = [text for text, mine, other in zip(texts, ids, wanted, strict=True) if mine != other]
            assert not different, (number, different[0])
            assert compiled.decode_batch(ids) == texts
            for text, mine in zip(texts[::40], ids[::40], strict=True):
                assert sample.encode(text).ids == mine, text

    @pytest.mark.slow
    def test_a_word_of_a_megabyte(self, gpt2: BPETokenizer) -> None:
        generator = random.Random(6)
        word = "".join(generator.choice("aehtnéß") for _ in range(1 << 20))
        assert compiled_of(gpt2).encode(word) == tiktoken_of(gpt2).encode_ordinary(word)

    @pytest.mark.slow
    def test_tinyshakespeare_and_the_standard_library(
        self, gpt2: BPETokenizer, shared_data: Callable[[str], Path]
    ) -> None:
        folder = Path(sysconfig.get_paths()["stdlib"])
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.py"))]
        texts.append(shared_data("tinyshakespeare.txt").read_text(encoding="utf-8"))
        ids = compiled_of(gpt2).encode_batch(texts)
        assert sum(map(len, ids)) > 1_000_000
        for text, mine, other in zip(texts, ids, tiktoken_of(gpt2).encode_ordinary_batch(texts), strict=True):
            assert mine == other, text[:80]
