from hypothesis import given
from hypothesis import strategies as st

from diffusionlm.tokenizer.lossless import BLOCK, text_blocks, to_bytes, to_text


@given(st.binary())
def test_bytes_come_back(data):
    assert to_bytes(to_text(data)) == data


@given(st.text())
def test_text_is_utf8(text):
    assert to_bytes(text) == text.encode()
    assert to_text(text) is text


@given(st.binary(max_size=40), st.integers(1, 5))
def test_characters_over_chunk_borders(data, size):
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert "".join(text_blocks(chunks)) == to_text(data)


def test_large_chunks_are_cut():
    blocks = list(text_blocks(["a" * (2 * BLOCK + 5)]))
    assert max(map(len, blocks)) == BLOCK
    assert sum(map(len, blocks)) == 2 * BLOCK + 5


def test_text_after_an_unfinished_character():
    assert "".join(text_blocks([b"\xc3", "a", b"\xc3", b"\xa9"])) == "\udcc3aé"
