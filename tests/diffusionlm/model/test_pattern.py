"""The attention pattern: documents apart, direction, and no mask where none is needed."""

import torch

from diffusionlm.model.pattern import attention_mask
from diffusionlm.process import Layout

SEGMENTS = torch.tensor([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]])


def test_documents_do_not_see_each_other():
    mask = attention_mask(Layout(segments=SEGMENTS))
    assert mask is not None
    assert mask.shape == (2, 1, 5, 5)
    for i in range(5):
        for j in range(5):
            assert bool(mask[0, 0, i, j]) == (int(SEGMENTS[0, i]) == int(SEGMENTS[0, j]))
    assert bool(mask[1].all())


def test_causal_documents():
    mask = attention_mask(Layout(segments=SEGMENTS, causal=True))
    assert mask is not None
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert torch.equal(mask[1, 0], torch.ones(5, 5, dtype=torch.bool).tril())


def test_every_query_has_a_key():
    for causal in (False, True):
        mask = attention_mask(Layout(segments=SEGMENTS, causal=causal))
        assert mask is not None
        assert bool(mask.any(-1).all())


def test_no_mask_where_every_row_is_one_document():
    assert attention_mask(Layout()) is None
    assert attention_mask(Layout(causal=True)) is None
    assert attention_mask(Layout(segments=SEGMENTS[1:])) is None
