"""The compiled decoder against the reference: the same bytes, and the same complaints."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer.compiled.decode import Decoder
from tests.diffusionlm.tokenizer.compiled.test_engine import BOTH

REFERENCE, COMPILED = BOTH["gpt2"]


@given(st.lists(st.integers(0, REFERENCE.vocab_size - 1), max_size=80))
@settings(deadline=None)
def test_any_ids(ids: list[int]) -> None:
    wanted = REFERENCE.decode_bytes(ids)
    assert COMPILED.decode_bytes(ids) == wanted
    assert COMPILED.decode_bytes(ids, skip_special=True) == REFERENCE.decode_bytes(ids, skip_special=True)
    assert Decoder(REFERENCE._tokens).decode(ids) == wanted


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=9), st.lists(st.integers(0, 8), max_size=40))
@settings(deadline=None)
def test_tokens_of_any_length(tokens: list[bytes], ids: list[int]) -> None:
    known = [id % len(tokens) for id in ids]
    assert Decoder(tokens).decode(known) == b"".join(tokens[id] for id in known)


@pytest.mark.parametrize(
    "form",
    [
        tuple,
        iter,
        np.array,
        lambda ids: np.array(ids, dtype=np.uint16),
        lambda ids: array("q", ids),
        lambda ids: (*ids,),
    ],
)
def test_ids_in_any_form(form: Callable[[list[int]], Iterable[int]]) -> None:
    ids = COMPILED.encode("the quick brown fox, naïve")
    assert COMPILED.decode(form(ids)) == "the quick brown fox, naïve"
    assert COMPILED.decode(form([])) == ""


@pytest.mark.parametrize("wrong", [-1, REFERENCE.vocab_size, 1 << 32, (1 << 32) + 65, 1 << 70])
@pytest.mark.parametrize("form", [list, lambda ids: np.array(ids, dtype=object if ids[1] > 1 << 60 else np.int64)])
def test_an_id_outside_is_named(wrong: int, form: Callable[[list[int]], Iterable[int]]) -> None:
    for tokenizer in (COMPILED, REFERENCE):
        with pytest.raises(TokenizerError, match=f"token id {wrong} is outside"):
            tokenizer.decode_bytes(form([65, wrong, 66]))
