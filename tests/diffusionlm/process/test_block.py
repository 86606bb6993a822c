"""Block diffusion: what is shown to the network, and that nothing of a later block gets into an earlier one."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.model.pattern import attention_mask
from diffusionlm.objective import OBJECTIVES, Objective
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.process import BlockProcess
from diffusionlm.process.base import View
from diffusionlm.process.block import BlockParams
from diffusionlm.process.layout import Layout, time_groups
from diffusionlm.process.times import TimesParams
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

LENGTH = 3
DOCUMENTS = random_documents([5, 3, 9, 1, 4, 12, 6, 8], K)
ALONE = lay_rows([[document] for document in DOCUMENTS], 12, frozen=1)
PACKED = lay_rows([DOCUMENTS[:3], DOCUMENTS[3:5], DOCUMENTS[5:7], DOCUMENTS[7:]], 18, frozen=1)


def process(corruption: str = "bernoulli", length: int = LENGTH) -> BlockProcess:
    return BlockProcess(BlockParams.model_validate({"corruption": corruption, "block_length": length}), VOCABULARY)


def view_of(batch: Batch, x_1: torch.Tensor | None = None, kind: BlockProcess | None = None) -> View:
    kind, x_1 = kind or process(), batch.x_1 if x_1 is None else x_1
    groups = time_groups(batch.segments, kind.blocks(batch.positions))
    t = (0.1 + 0.61803 * groups.double()) % 1.0
    corrupted = kind.corrupt(x_1, t, batch.editable, groups, draws_of(batch))
    return kind.view(corrupted, x_1, batch.segments, batch.positions)


def test_the_pattern_is_the_papers_with_packed_documents() -> None:
    view = view_of(PACKED)
    mask = attention_mask(view.layout)
    assert mask is not None
    width = PACKED.x_1.shape[1]
    for row in range(len(PACKED)):
        segment, place = PACKED.segments[row].tolist(), PACKED.positions[row].tolist()
        for q in range(2 * width):
            for k in range(2 * width):
                i, j = q % width, k % width
                before, same = place[j] // LENGTH < place[i] // LENGTH, place[j] // LENGTH == place[i] // LENGTH
                noisy_query, noisy_key = q < width, k < width
                expected = {
                    (True, True): same,
                    (True, False): before,
                    (False, False): before or same,
                    (False, True): False,
                }[noisy_query, noisy_key] and segment[i] == segment[j]
                assert bool(mask[row, 0, q, k]) == expected, (row, q, k)


def test_both_halves_have_the_positions_and_the_clean_one_time_1() -> None:
    view, width = view_of(PACKED), PACKED.x_1.shape[1]
    assert view.layout.positions is not None
    assert view.layout.segments is not None
    assert isinstance(view.tokens, torch.Tensor)
    assert torch.equal(view.layout.positions, torch.cat((PACKED.positions, PACKED.positions), 1))
    assert torch.equal(view.layout.segments, torch.cat((PACKED.segments, PACKED.segments), 1))
    assert torch.equal(view.tokens[:, width:], PACKED.x_1)
    assert bool((view.t[:, width:] == 1).all())
    assert view.columns(torch.tensor([0, width, width + 1]), width).tolist() == [0, 2 * width, 2 * width + 1]


@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_clean_text_of_a_block_and_later_cannot_change_its_prediction(block: int) -> None:
    model, view = network(), view_of(lay_rows([DOCUMENTS[5:6]], 12))
    assert isinstance(view.tokens, torch.Tensor)
    later = torch.cat((torch.zeros(1, 12, dtype=torch.bool), torch.arange(12)[None] // LENGTH >= block), 1)
    other = View(torch.where(later, (view.tokens + 5) % K, view.tokens), view.t, view.layout)
    rows = torch.arange(12)
    with torch.no_grad():
        one, two = (model(v.tokens, v.t, v.layout, rows) for v in (view, other))
    same = torch.arange(12) // LENGTH <= block
    assert torch.equal(one[same], two[same])
    if block < 3:
        assert bool((one[~same] != two[~same]).any(1).all())


def test_a_block_has_a_time_of_its_own_stratified_over_the_step() -> None:
    objective = OBJECTIVES.build(OBJECTIVES["nelbo"].Params(times=TimesParams(t_range=(0.3, 0.8))), process())
    batch = lay_rows([[DOCUMENTS[5]]] * 4, 12)
    t = prepare(objective, batch, 0, 0, torch.arange(4), 4).corrupted.t
    assert t.unfold(1, LENGTH, LENGTH).std(-1, correction=0).max() == 0
    assert len(t.unique()) == 16
    assert float(t.min()) >= 0.3
    assert float(t.max()) <= 0.8
    # A block's times over the four rows lie 1/4 of the range apart.
    of_block = ((t[:, ::LENGTH] - 0.3) / 0.5 * 4 % 1.0).sort(0).values
    assert float((of_block.amax(0) - of_block.amin(0)).max()) < 1e-9


def gradient(objective: Objective, parts: list[Batch], t: torch.Tensor | None, monkeypatch) -> dict[str, torch.Tensor]:
    model, first, prepared = network(), 0, []
    for batch in parts:
        if t is not None:
            monkeypatch.setattr("diffusionlm.objective.engine.draw_times", lambda *_, b=batch: t[b.document])
        rows = torch.arange(first, first + len(batch))
        prepared.append(prepare(objective, batch, 0, 0, rows, sum(map(len, parts))))
        first += len(batch)
    denominator = torch.stack([part.denominator for part in prepared]).sum()
    for part in prepared:
        (loss_sum(model, part).total / denominator).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if issubclass(BlockProcess, OBJECTIVES[name].requires)])
def test_the_gradient_does_not_depend_on_packing_or_micro_batches(name: str, corruption: str, monkeypatch) -> None:
    fields = OBJECTIVES[name].Params.model_fields
    whole = {"random_length_probability": 0.0} if "random_length_probability" in fields else {}
    objective = OBJECTIVES.build(OBJECTIVES[name].Params.model_validate(whole), process(corruption))
    t = torch.linspace(0.05, 0.9, len(DOCUMENTS), dtype=torch.float64)
    whole = gradient(objective, [ALONE], t, monkeypatch)
    for parts in ([PACKED], [ALONE.rows(0, 3), ALONE.rows(3, 8)]):
        other = gradient(objective, parts, t, monkeypatch)
        assert all(torch.allclose(whole[key], other[key], atol=1e-11) for key in whole)


def test_a_canvas_is_block_causal_and_settles_with_its_blocks() -> None:
    kind, z = process(), torch.full((2, 7), K)
    t = torch.tensor([[1.0] * 3 + [0.5] * 3 + [0.0], [0.2] * 3 + [0.0] * 4], dtype=torch.float64)
    view = kind.canvas_view(z, t, Layout())
    mask = attention_mask(view.layout)
    assert mask is not None
    block = torch.arange(7) // LENGTH
    assert torch.equal(mask[0, 0], block[None, :] <= block[:, None])
    assert kind.settled(z, t).tolist() == [[True] * 3 + [False] * 4, [False] * 7]
