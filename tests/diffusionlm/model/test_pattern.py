"""The attention pattern: documents apart, direction, and no mask where none is needed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffusionlm.model.pattern import attention_mask, cached_mask, flex_mask, uses_flex
from diffusionlm.process import Layout
from tests.diffusionlm.model.networks import network, tokens

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


def random_layouts() -> list[Layout]:
    """Return layouts of 3 × 24 columns: packed segments with padding, causal, blocks on a canvas, and [z ; x]."""
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(0, 4, (3, 24), generator=generator) == 0
    segments = starts.long().cumsum(1) + 1
    segments[1, 20:] = 0
    place = torch.arange(24).expand(3, 24)
    begins = torch.where(torch.nn.functional.pad(segments.diff(dim=1) != 0, (1, 0), value=True), place, 0)
    positions = place - begins.cummax(1).values
    blocks = positions // 3
    half = torch.arange(24) >= 12
    twice = {k: torch.cat((v[:, :12], v[:, :12]), 1) for k, v in (("s", segments), ("p", positions), ("b", blocks))}
    found = []
    for causal in (False, True):
        found += [
            Layout(segments=segments, positions=positions, causal=causal),
            Layout(segments=segments, positions=positions, causal=causal, blocks=blocks),
            Layout(causal=causal, blocks=place // 5),
            Layout(twice["s"], twice["p"], causal, twice["b"], half.expand(3, 24)),
        ]
    return [*found, Layout(causal=True), Layout()]


@pytest.mark.parametrize("layout", random_layouts(), ids=range(10))
class TestFlexAgreesWithDense:
    def test_masks(self, layout: Layout) -> None:
        from torch.nn.attention.flex_attention import create_mask

        flex = flex_mask(layout, (3, 24), torch.device("cpu"))
        dense = attention_mask(layout)
        if dense is None:
            dense = torch.ones(24, 24, dtype=torch.bool)
            dense = (dense.tril() if layout.causal else dense).expand(3, 1, 24, 24)
        assert torch.equal(create_mask(flex.mask_mod, 3, 1, 24, 24, device="cpu"), dense)

    def test_outputs(self, layout: Layout) -> None:
        model = network(dtype=torch.float32, kv_heads=2)
        x, t = tokens(3, 24), torch.zeros(3, 24, dtype=torch.float64)
        outputs = []
        with torch.no_grad():
            for form in ("dense", "flex"):
                model.attention = form
                outputs.append(model(x, t, layout))
        assert float((outputs[0] - outputs[1]).abs().max()) < 1e-5


SAMPLED = [layout for layout in random_layouts() if layout.clean is None]


def test_all_but_the_doubled_layouts_are_sampled_over() -> None:
    """[z ; x] is for training alone; causal and not, in blocks and not, packed and not are left."""
    assert len(random_layouts()) - len(SAMPLED) == 2
    for trait in (lambda one: one.causal, lambda one: one.blocks is not None, lambda one: one.segments is not None):
        assert {trait(layout) for layout in SAMPLED} == {True, False}


@pytest.mark.parametrize("layout", SAMPLED, ids=range(len(SAMPLED)))
def test_beside_a_cache(layout: Layout) -> None:
    dense = attention_mask(layout)
    dense = torch.ones(3, 1, 24, 24, dtype=torch.bool) if dense is None else dense
    dense = dense.tril() if layout.causal else dense
    columns = torch.tensor([[3, 4, 9], [0, 23, 23], [7, 8, 9]])
    readable = torch.rand(3, 20, generator=torch.Generator().manual_seed(1)) > 0.3
    found = cached_mask(layout, columns, readable)
    expected = dense[torch.arange(3)[:, None], 0, columns][:, :, :20] & readable[:, None]
    assert torch.equal(found[:, 0].expand_as(expected), expected)


def test_flex_is_for_block_diffusion_on_cuda() -> None:
    def states(device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
        return SimpleNamespace(device=torch.device(device), dtype=dtype)

    for layout in random_layouts():
        assert uses_flex(layout, states("cuda"), "auto") == (layout.clean is not None)
        assert not uses_flex(layout, states("cuda", torch.float64), "auto")
        assert not uses_flex(layout, states("cpu"), "auto")
        assert uses_flex(layout, states("cpu"), "flex")
