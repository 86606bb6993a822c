"""The promises of every tokenizer, kept by each of them."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import EOS, BPETokenizer, ByteTokenizer
from tests.diffusionlm.tokenizer.conftest import TEXT, tokenizers

NAMES = st.sampled_from(["bpe", "byte"])
ESCAPES = "".join(map(chr, range(0xDC80, 0xDD00)))  # they stand for bytes that are not UTF-8
NEAR_SPECIAL = st.lists(
    st.sampled_from(
        ["<|", "end", "<|end", "oftext|>", EOS, "<|im", " start|>", "the", " ", "\n", "é", "'", "re", "'l"]
    ),
    max_size=14,
).map("".join)


def cut(text, places):
    """Cut ``text`` at ``places`` (any integers)."""
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(borders)]


@given(NAMES, st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_come_back(name, data):
    tokenizer = tokenizers()[name]
    ids = tokenizer.encode(data)
    assert tokenizer.decode_bytes(ids) == data
    assert all(0 <= i < 256 or i not in tokenizer.specials.values() for i in ids)
    assert tokenizer.encode(tokenizer.decode(ids, errors="surrogateescape")) == ids


@given(NAMES, st.text(st.characters(exclude_characters=ESCAPES), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back(name, text):
    tokenizer = tokenizers()[name]
    assert tokenizer.decode(tokenizer.encode(text), errors="surrogatepass") == text


def test_every_lone_surrogate_is_encoded(tokenizer):
    text = "".join(map(chr, range(0xD800, 0xE000)))
    escaped, passed = text[0x480:0x500], text[:0x480] + text[0x500:]
    assert tokenizer.decode_bytes(tokenizer.encode(escaped)) == bytes(range(0x80, 0x100))
    assert tokenizer.decode(tokenizer.encode(passed), errors="surrogatepass") == passed
    mixed = "a\ud800\udcffé"
    assert tokenizer.decode_bytes(tokenizer.encode(mixed)) == b"a\xed\xa0\x80\xff\xc3\xa9"


@given(NAMES, NEAR_SPECIAL, st.lists(st.integers(0, 10**6), max_size=8), st.booleans())
@settings(max_examples=400, deadline=None)
def test_stream_of_text_equals_whole(name, text, places, allow_special):
    tokenizer = tokenizers()[name]
    streamed = list(tokenizer.encode_iterable(cut(text, places), allow_special=allow_special))
    assert streamed == tokenizer.encode(text, allow_special=allow_special)


@given(NAMES, st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda s: s.encode())), st.data())
@settings(max_examples=300, deadline=None)
def test_stream_of_bytes_equals_whole(name, data, draw):
    tokenizer = tokenizers()[name]
    places = draw.draw(st.lists(st.integers(0, 10**6), max_size=12))
    assert list(tokenizer.encode_iterable(cut(data, places))) == tokenizer.encode(data)


def test_stream_is_lazy(tokenizer):
    def endless():
        while True:
            yield TEXT

    ids = tokenizer.encode_iterable(endless())
    assert [next(ids) for _ in range(50)] == tokenizer.encode(TEXT)[:50]


def test_specials_are_opt_in(tokenizer):
    text = f"a{EOS}b"
    eos = tokenizer.specials[EOS]
    assert eos not in tokenizer.encode(text)
    assert tokenizer.encode(text, allow_special=True) == [*tokenizer.encode("a"), eos, *tokenizer.encode("b")]
    assert tokenizer.encode(text.encode(), allow_special=True) == tokenizer.encode(text, allow_special=True)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_longest_special_wins(tokenizer):
    ids = [tokenizer.specials[EOS], tokenizer.specials["<|end"], tokenizer.specials["<|im start|>"]]
    text = f"{EOS}<|end<|im start|>"
    assert tokenizer.encode(text, allow_special=True) == ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special=True) == ""


def test_words_do_not_reach_over_a_special(tokenizer):
    joined = tokenizer.encode(f"the qu{EOS}ick fox", allow_special=True)
    parts = [*tokenizer.encode("the qu"), tokenizer.eos_id, *tokenizer.encode("ick fox")]
    assert joined == parts


def test_array_and_batch_agree_with_encode(tokenizer):
    array = tokenizer.encode_array(TEXT)
    assert array.dtype == np.uint32
    assert array.flags.writeable
    assert array.tolist() == tokenizer.encode(TEXT) == tokenizer.encode_batch(["x", TEXT])[1]
    assert tokenizer.encode_array(b"").shape == (0,)
    assert tokenizer.encode("") == []
    assert tokenizer.encode_array(EOS, allow_special=True).tolist() == [tokenizer.eos_id]


def test_decode_takes_arrays_and_batches(tokenizer):
    array = tokenizer.encode_array("the fox")
    assert tokenizer.decode(array) == "the fox"
    assert tokenizer.decode_batch([array, []]) == ["the fox", ""]


def test_decode_says_what_becomes_of_half_a_character(tokenizer):
    ids = tokenizer.encode(b"a\xc3")
    assert tokenizer.decode(ids) == "a\ufffd"
    assert tokenizer.decode(ids, errors="ignore") == "a"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(ids, errors="strict")


@pytest.mark.parametrize("bad", [-1, 10**6])
def test_id_outside_the_vocabulary(tokenizer, bad):
    with pytest.raises(
        TokenizerError, match=rf"token id {bad} is outside this tokenizer's ids 0\.\.{tokenizer.vocab_size - 1}$"
    ):
        tokenizer.decode([0, bad])
    with pytest.raises(TokenizerError, match="outside"):
        tokenizer.token_bytes(bad)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([1.5], r"got 1.5 \(float\)"),
        ([1, 2.0], r"got 2.0 \(float\)"),
        ([float("nan")], r"got nan \(float\)"),
        (np.array([1.0, 2.0]), r"got np.float64\(1.0\) \(float64\)"),
        (np.array([True, False]), r"got np.True_ \(bool\)"),
        (np.array([[1, 2], [3, 4]]), r"got array\(\[1, 2\]\) \(ndarray\)"),
        (torch.tensor([1.5]), r"got tensor\(1.5000\) \(Tensor\)"),
        (["a"], r"got 'a' \(str\)"),
        ([None], r"got None \(NoneType\)"),
        ([[1, 2]], r"got \[1, 2\] \(list\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("compiled", [False, True])
def test_ids_that_are_no_integers(tokenizer, bad, said, compiled):
    if isinstance(tokenizer, BPETokenizer):
        tokenizer.compiled = compiled
    for decode in (tokenizer.decode, tokenizer.decode_bytes, lambda ids: tokenizer.decode_batch([ids])):
        with pytest.raises(
            TokenizerError, match=rf"^ids must be integers; {said}; give one row of what encode returns"
        ):
            decode(bad)


@pytest.mark.parametrize(("bad", "said"), [(5, r"5 \(int\); put a single id"), ("ab", "text"), (b"abcd", "text")])
def test_ids_that_are_no_sequence(tokenizer, bad, said):
    for ids in (bad, np.array(5) if bad == 5 else bad):
        with pytest.raises(TokenizerError, match=r"^ids must be a sequence of integers; got "):
            tokenizer.decode(ids)
    with pytest.raises(TokenizerError, match=rf"got {said}"):
        tokenizer.decode(bad)
    with pytest.raises(TokenizerError, match=r"^ids must be integers; got 1.5"):
        tokenizer.token_bytes(1.5)


@pytest.mark.parametrize("bad", [-1, 300_000])
@pytest.mark.parametrize("dtype", ["i8", "f8"])
def test_arrays_outside_the_vocabulary(tokenizer, bad, dtype):
    said = f"token id {bad} is outside" if dtype == "i8" else "ids must be integers"
    with pytest.raises(TokenizerError, match=said):
        tokenizer.decode(np.array([1, bad], dtype=dtype))


def test_byte_lengths_count_the_text_without_specials(tokenizer):
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths.dtype == np.int64
    assert lengths[tokenizer.encode_array(TEXT)].sum() == len(TEXT.encode())
    assert all(lengths[i] == 0 for i in tokenizer.specials.values())
    assert sum(lengths == 0) == len(tokenizer.specials)


def test_token_bytes_join_to_the_text(tokenizer):
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(TEXT))) == TEXT.encode()
    assert tokenizer.token_bytes(tokenizer.eos_id) == EOS.encode()


def test_pickle_keeps_the_ids(tokenizer):
    tokenizer.encode(TEXT, allow_special=True)
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint() == tokenizer.fingerprint()
    assert copy.encode(TEXT) == tokenizer.encode(TEXT)


def test_missing_eos_is_named():
    tokenizer = ByteTokenizer(["<|stop|>"])
    with pytest.raises(TokenizerError, match=r"no <\|endoftext\|> token \(its special tokens: <\|stop\|>\)"):
        _ = tokenizer.eos_id
