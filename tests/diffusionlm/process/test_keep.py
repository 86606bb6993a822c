"""Keep shares: what a chosen token becomes, and how it differs from the marginal of all tokens."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.process import KeepProcess, Vocabulary
from diffusionlm.process.keep import KeepParams
from tests.diffusionlm.process.batches import draws_of, lay_rows

K = 4
VOCABULARY = Vocabulary.after(K)


@pytest.mark.parametrize(("mask", "keep"), [(0.8, 0.1), (0.2, 0.1), (0.0, 0.5), (0.5, 0.5)])
def test_chosen_tokens_are_split_in_the_shares(mask: float, keep: float) -> None:
    process = KeepProcess(KeepParams(mask_share=mask, keep_share=keep), VOCABULARY)
    many = 8_000
    batch = lay_rows([[(i, [1, 1])] for i in range(many)], 2)
    t = torch.full(batch.x_1.shape, 0.3, dtype=torch.float64)
    out = process.corrupt(batch.x_1, t, batch.editable, batch.segments, draws_of(batch))
    chosen = out.x_t[out.noised]
    assert len(chosen) / (2 * many) == pytest.approx(0.7, abs=0.02)
    assert bool((out.x_t[~out.noised] == 1).all())
    uniform = 1 - mask - keep
    for token in range(K + 1):
        share = mask if token == K else keep * (token == 1) + uniform / K
        assert float((chosen == token).double().mean()) == pytest.approx(share, abs=0.02)
    assert not bool(out.weight.any())


def test_generation_starts_without_what_would_have_been_kept() -> None:
    process = KeepProcess(KeepParams(mask_share=0.2, keep_share=0.1), VOCABULARY)
    batch = lay_rows([[(i, [1, 1])] for i in range(8_000)], 2)
    start = process.source(batch.x_1, batch.editable, draws_of(batch))
    assert float((start == K).double().mean()) == pytest.approx(2 / 9, abs=0.02)
    assert float((start == 1).double().mean()) == pytest.approx(7 / 9 / K, abs=0.02)


def test_what_a_chosen_token_says_for_itself() -> None:
    evidence = KeepProcess(KeepParams(mask_share=0.2, keep_share=0.1), VOCABULARY).chosen_evidence()
    assert evidence == pytest.approx(math.log((0.1 + 0.7 / K) / (0.7 / K)))
    assert KeepProcess(KeepParams(keep_share=0.0), VOCABULARY).chosen_evidence() == 0.0
    assert KeepProcess(KeepParams(mask_share=0.5, keep_share=0.5), VOCABULARY).chosen_evidence() == math.inf


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"mask_share \+ keep_share is at most 1, got 0.8 \+ 0.3"):
        KeepParams(keep_share=0.3)
