"""The n-gram judge against its formula written out longhand, and what it must prefer."""

import math
from collections import Counter

import numpy as np
import pytest

from diffusionlm.errors import DataError
from diffusionlm.evaluation import ByteJudge, judged_bits_per_byte

TEXT = b"the cat sat on the mat; the cat ate the rat. " * 3 + b"then it slept"


def longhand(text: bytes, order: int, context: bytes, byte: int) -> float:
    """Return p(byte | context) by loops over the text: interpolated Witten–Bell."""
    p = 1 / 256
    for n in range(1, min(order, len(context) + 1) + 1):
        before = context[len(context) - n + 1 :]
        grams = [text[i : i + n] for i in range(len(text) - n + 1)]
        follow = Counter(gram[-1] for gram in grams if gram[:-1] == before)
        total, kinds = sum(follow.values()), len(follow)
        if total:
            p = (follow[byte] + kinds * p) / (total + kinds)
    return p


@pytest.mark.parametrize("order", [1, 3, 5, 7])
@pytest.mark.parametrize("text", [b"the rat sat", b"zzz", b"q", b"on the m\xffat"])
def test_it_is_the_formula(order, text):
    bits = ByteJudge([TEXT], order).bits(text)
    expected = [-math.log2(longhand(TEXT, order, text[max(0, i - order + 1) : i], text[i])) for i in range(len(text))]
    assert bits.tolist() == pytest.approx(expected)


def test_every_context_has_a_distribution():
    judge = ByteJudge([TEXT], 4)
    total = sum(2 ** -judge.bits(b"the " + bytes([byte]))[-1] for byte in range(256))
    assert total == pytest.approx(1.0)


def test_text_like_the_training_text_is_cheaper_and_repetition_is_cheapest():
    judge = ByteJudge([TEXT], 5)
    real, noise = judge.bits(b"the cat sat on the mat").mean(), judge.bits(b"taht teht oc nas tmae ").mean()
    assert real < noise
    # Why it is never shown without a measure of diversity.
    assert judge.bits(b"the cat sat on the mat; " * 4).mean() < real


def test_documents_the_limit_and_nothing():
    assert ByteJudge([b"ab", b"cd"], 2, limit=3).bytes == 3
    assert judged_bits_per_byte(ByteJudge([TEXT]), [b"", b""]) is None
    one = ByteJudge([TEXT], 3)
    together = judged_bits_per_byte(one, [b"the cat", b"mat"])
    assert together == pytest.approx(np.concatenate([one.bits(b"the cat"), one.bits(b"mat")]).mean())
    with pytest.raises(DataError, match="holds no bytes"):
        ByteJudge([b""])
    assert ByteJudge([b"a"], 7).bits(b"ab").shape == (2,)
