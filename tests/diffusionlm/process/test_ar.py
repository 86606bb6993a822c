"""Autoregression as a process: the shifted view, and what is settled on a canvas."""

from __future__ import annotations

import torch

from diffusionlm.model.pattern import attention_mask
from diffusionlm.process import ArProcess
from diffusionlm.process.ar import ArParams
from diffusionlm.process.layout import Layout
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

PROCESS = ArProcess(ArParams(), VOCABULARY)
PACKED = lay_rows([random_documents([4, 3, 2], K)], 11, frozen=1)


def test_each_document_begins_with_m_and_is_shifted_by_one() -> None:
    corrupted = PROCESS.corrupt(PACKED.x_1, PACKED.x_1.double(), PACKED.editable, PACKED.segments, draws_of(PACKED))
    view = PROCESS.view(corrupted, PACKED.x_1, PACKED.segments, PACKED.positions)
    assert isinstance(view.tokens, torch.Tensor)
    x, tokens = PACKED.x_1[0].tolist(), view.tokens[0].tolist()
    assert tokens[:9] == [K, *x[:3], K, *x[4:6], K, x[7]]
    assert view.layout.causal
    assert torch.equal(corrupted.weight > 0, PACKED.editable)


def test_a_token_is_predicted_from_the_ones_before_it_alone() -> None:
    corrupted = PROCESS.corrupt(PACKED.x_1, PACKED.x_1.double(), PACKED.editable, PACKED.segments, draws_of(PACKED))
    model, rows = network(), torch.arange(9)

    def states(x: torch.Tensor) -> torch.Tensor:
        view = PROCESS.view(corrupted, x, PACKED.segments, PACKED.positions)
        with torch.no_grad():
            return model(view.tokens, view.t, view.layout, rows)

    base = states(PACKED.x_1)
    for changed in range(9):
        x = PACKED.x_1.clone()
        x[0, changed] = (x[0, changed] + 1) % K
        moved = (states(x) != base).any(1)
        same_document = PACKED.segments[0, :9] == PACKED.segments[0, changed]
        assert torch.equal(moved, same_document & (torch.arange(9) > changed)), changed


def test_columns_settle_up_to_the_first_unknown_token() -> None:
    z = torch.tensor([[1, 2, K, 3, K], [K, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    settled = PROCESS.settled(z, torch.zeros(z.shape, dtype=torch.float64))
    assert settled.sum(1).tolist() == [3, 1, 5]
    view = PROCESS.canvas_view(z, torch.zeros(z.shape, dtype=torch.float64), Layout())
    assert isinstance(view.tokens, torch.Tensor)
    assert view.tokens.tolist() == [[K, 1, 2, K, 3], [K, K, 1, 1, 1], [K, 1, 1, 1, 1]]
    assert attention_mask(view.layout) is None
