"""NFC in pieces is NFC of the whole."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.tokenizer.normalize import NFCStream, nfc

PIECES = st.sampled_from(
    list("ae\u0301\u0323\u1112\u1161\u11ab\ud558\u0f73\u0344\u09c7\u09beé\U00011131\U00011127你 \udcff\u212b")
)


@given(st.lists(PIECES, max_size=14), st.integers(1, 4))
@settings(max_examples=400, deadline=None)
def test_a_stream_cut_anywhere(pieces: list[str], step: int) -> None:
    text, stream = "".join(pieces), NFCStream()
    parts = [stream.feed(text[i : i + step], final=False) for i in range(0, len(text), step)]
    assert "".join([*parts, stream.feed("", final=True)]) == unicodedata.normalize("NFC", text)


@given(st.text(max_size=12), st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_any_text(text: str, cut: int) -> None:
    stream = NFCStream()
    done = stream.feed(text[:cut], final=False) + stream.feed(text[cut:], final=True)
    assert done == unicodedata.normalize("NFC", text)


def test_every_character_behind_one_it_may_join() -> None:
    """Of every character that composes with anything, the first of its canonical pairs."""
    for point in range(0x110000):
        pair = unicodedata.decomposition(chr(point)).split()
        if len(pair) == 2 and not pair[0].startswith("<"):
            first, second = (chr(int(part, 16)) for part in pair)
            stream = NFCStream()
            done = stream.feed(first, final=False) + stream.feed(second, final=True)
            assert done == unicodedata.normalize("NFC", first + second), hex(point)


def test_what_is_certain_is_handed_out() -> None:
    stream = NFCStream()
    assert stream.feed("ab", final=False) == "a"
    assert stream.feed("\u0301c", final=False) == "b\u0301"
    assert stream.feed("", final=True) == "c"


def test_bytes() -> None:
    assert nfc(b"plain") == b"plain"
    assert nfc(b"e\xcc\x81\xff") == b"\xc3\xa9\xff"
