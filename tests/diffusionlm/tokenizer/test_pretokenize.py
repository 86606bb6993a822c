import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.tokenizer import pretokenize
from diffusionlm.tokenizer.pretokenize import WordStream, split_words

TRICKY = st.text(st.sampled_from("'relvsdmt  \n\t1٣a!é\u00a0\u2003\U0001f600\udc80中"), max_size=40)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Hello world", ["Hello", " world"]),
        (
            "it's we'll they've I'm you're he'd don't",
            ["it", "'s", " we", "'ll", " they", "'ve", " I", "'m", " you", "'re", " he", "'d", " don", "'t"],
        ),
        ("IT'S", ["IT", "'", "S"]),
        ("a  b", ["a", " ", " b"]),
        ("line\nnext", ["line", "\n", "next"]),
        ("a\n\n  b", ["a", "\n\n ", " b"]),
        ("end \n", ["end", " \n"]),
        ("x1y", ["x", "1", "y"]),
        (" ++ 12", [" ++", " 12"]),
        ("''re", ["''", "re"]),
        ("a\u00a0b", ["a", "\u00a0", "b"]),
        ("\udc80\udcffa", ["\udc80\udcff", "a"]),
    ],
)
def test_known_words(text, words):
    assert split_words(text) == words


def test_every_character_has_the_class_that_the_tokenizers_package_gives_it():
    """Letter, digit, space or sign, told by the neighbours it joins; private use and unassigned are left out."""
    from tokenizers import pre_tokenizers

    reference = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    characters = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Co", "Cs")]
    for c in characters:
        text = f"!{c}a{c}1{c}  {c}'ll"
        assert split_words(text) == [text[a:b] for _, (a, b) in reference.pre_tokenize_str(text)], ascii(c)


@given(st.one_of(TRICKY, st.text(st.characters())))
@settings(max_examples=300, deadline=None)
def test_words_cover_the_text(text):
    assert "".join(split_words(text)) == text


@given(TRICKY, st.lists(st.integers(0, 40), max_size=12))
@settings(max_examples=1000, deadline=None)
def test_stream_equals_whole(text, places):
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    stream = WordStream()
    words = [word for a, b in itertools.pairwise(borders) for word in stream.feed(text[a:b])]
    assert words + stream.feed("", final=True) == split_words(text)
    assert stream.feed("x", final=True) == ["x"], "a finished stream starts afresh"


def test_stream_keeps_only_the_last_word():
    stream = WordStream()
    for _ in range(50):
        stream.feed("some words of text, " * 20)
        assert stream._kept < 20


def test_long_word_in_many_pieces_is_scanned_a_few_times(monkeypatch):
    scanned = 0

    def counting(text, pattern):
        nonlocal scanned
        scanned += len(text)
        return split_words(text, pattern)

    monkeypatch.setattr(pretokenize, "split_words", counting)
    stream, n = WordStream(), 20_000
    for _ in range(n):
        assert stream.feed("a") == []
    assert stream.feed("", final=True) == ["a" * n]
    assert scanned < 4 * n
