"""The table-driven scanner against the regular expressions: the same words, on all of Unicode and on any bytes."""

from __future__ import annotations

import random
import sys
from itertools import pairwise

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.tokenizer.compiled.classes import NEWLINE, SPACE, class_table
from diffusionlm.tokenizer.compiled.engine import PATTERN_CODES
from diffusionlm.tokenizer.compiled.memory import BLOCK, padded
from diffusionlm.tokenizer.compiled.scan import cut_words, word_end
from diffusionlm.tokenizer.lossless import to_bytes, to_text
from diffusionlm.tokenizer.pretokenize import PATTERNS, split_words
from tests.diffusionlm.tokenizer.test_bpe import UNICODE

PAGES, CLASSES = class_table()


def words_of(data: bytes, pattern: str) -> list[bytes]:
    """Return the words, found one by one and many at a time; what lies behind the text must not matter."""
    text, place, ends = padded(data), 0, []
    while place < len(data):
        place = word_end(text.ctypes.data, place, len(data), PATTERN_CODES[pattern], PAGES, CLASSES)
        assert (ends[-1] if ends else 0) < place <= len(data)
        ends.append(place)
    for behind in (b"", b"s", b"  s", "é".encode()):
        assert cut(data + behind, len(data), pattern) == ends
    return [data[begin:end] for begin, end in pairwise([0, *ends])]


def cut(data: bytes, n: int, pattern: str) -> list[int]:
    text, place, ends, room = padded(data), 0, [], np.empty(2 * BLOCK, dtype=np.int64)
    while place < n:
        words = cut_words(text.ctypes.data, place, n, PATTERN_CODES[pattern], PAGES, CLASSES, room)
        ends += room[:words].tolist()
        place = ends[-1]
    return ends


def expected(data: bytes, pattern: str) -> list[bytes]:
    return [to_bytes(word) for word in split_words(to_text(data), pattern)]


@pytest.mark.parametrize("pattern", PATTERNS)
class TestAgainstTheRegularExpression:
    @given(UNICODE)
    @settings(max_examples=150, deadline=None)
    def test_text(self, pattern: str, text: str) -> None:
        assert words_of(text.encode(), pattern) == expected(text.encode(), pattern)

    @given(st.binary(max_size=40))
    @settings(max_examples=150, deadline=None)
    def test_bytes(self, pattern: str, data: bytes) -> None:
        assert words_of(data, pattern) == expected(data, pattern)

    @given(st.text(st.sampled_from("'stdmreveSLl ſK \n\r\t\u00a0\u2028!.-a1٣é中"), max_size=24))
    @settings(max_examples=500, deadline=None)
    def test_where_the_rules_meet(self, pattern: str, text: str) -> None:
        assert words_of(text.encode(), pattern) == expected(text.encode(), pattern)

    @given(st.text(st.sampled_from("'stdmrevelSx  \n\n\r\t!.-_10é"), min_size=40, max_size=300))
    @settings(max_examples=500, deadline=None)
    def test_texts_longer_than_a_block(self, pattern: str, text: str) -> None:
        assert words_of(text.encode(), pattern) == expected(text.encode(), pattern)

    def test_what_matters_at_every_place_of_a_block(self, pattern: str) -> None:
        for middle in (
            "it's",
            "we'll've",
            " 's",
            "x  y",
            "x \n y",
            "12'd3",
            "é's",
            "'sé",
            "!'re",
            " \u00a0s",
            "''t",
            "!\n \n\n  y",
            " .\r\n\t1234567",
        ):
            for before in range(2 * BLOCK):
                for filler in "a !":
                    data = (filler * before + middle + "b" * 3).encode()
                    assert words_of(data, pattern) == expected(data, pattern), data

    def test_every_character_between_others(self, pattern: str) -> None:
        """Each code point that is a character, alone, doubled, and beside a letter, a digit, a sign and spaces."""
        points = [c for c in range(0, sys.maxunicode + 1, 29) if not 0xD800 <= c < 0xE000]
        for start in range(0, len(points), 4096):
            data = "".join(f"a{chr(c)}1{chr(c)}{chr(c)} {chr(c)}!\n{chr(c)}  " for c in points[start : start + 4096])
            assert words_of(data.encode(), pattern) == expected(data.encode(), pattern)

    def test_every_pair_of_bytes(self, pattern: str) -> None:
        data = b"".join(bytes([a, b]) + b" x" for a in range(256) for b in range(128, 256))
        assert words_of(data, pattern) == expected(data, pattern)

    @pytest.mark.slow
    def test_many_random_texts(self, pattern: str) -> None:
        """200 000 strings over all three patterns, of every category, with long runs."""
        generator = random.Random(pattern)
        alphabet = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
        common = [*"  \n\t\r'sdtmlreva019.,!-_()", "\u00a0", "\u200d", "👩", "é", "中"]
        for _ in range(67_000):
            length = generator.randrange(1, 40)
            text = "".join(
                generator.choice(common if generator.random() < 0.7 else alphabet)
                * (generator.randrange(1, 30) if generator.random() < 0.05 else 1)
                for _ in range(length)
            )
            assert words_of(text.encode(), pattern) == expected(text.encode(), pattern), text


def test_the_classes_are_those_of_the_library() -> None:
    for point in [*range(0x3000), *range(0x3000, 0x110000, 61)]:
        kind, character = int(CLASSES[PAGES[point >> 8] * 256 + (point & 255)]), chr(point)
        assert bool(regex.match(r"\s", character)) == (kind >= SPACE), hex(point)
        assert (character in "\r\n") == (kind == NEWLINE)
        assert bool(regex.match(r"\p{L}", character)) == (kind == 1), hex(point)
        assert bool(regex.match(r"\p{N}", character)) == (kind == 2), hex(point)
