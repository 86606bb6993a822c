"""Blocks: which positions, how many steps, and the time that the network is told."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.errors import ConfigError
from diffusionlm.generation.blocks import Blocks
from diffusionlm.process import SCHEDULES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams

EDITABLE = torch.tensor(
    [[0, 1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.bool
)


def test_blocks_count_editable_positions_wherever_they_lie() -> None:
    blocks = Blocks.of(EDITABLE, 2, 6)
    assert blocks.index.tolist() == [
        [-1, 0, 0, 1, 1, 2, -1, -1],
        [0, 0, -1, -1, 1, 1, 2, -1],
        [-1] * 8,
    ]
    assert blocks.number.tolist() == [3, 3, 0]


def test_without_a_length_there_is_one_block() -> None:
    blocks = Blocks.of(EDITABLE, None, 1)
    assert blocks.number.tolist() == [1, 1, 0]
    assert bool((blocks.index[EDITABLE] == 0).all())


def test_a_block_longer_than_the_row_is_the_row() -> None:
    for length in (8, 100, 10**30):
        assert torch.equal(Blocks.of(EDITABLE, length, 1).index, Blocks.of(EDITABLE, None, 1).index)


@pytest.mark.parametrize(("steps", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [2, 2, 1]), (11, [4, 4, 3])])
def test_steps_are_shared_out_evenly(steps: int, expected: list[int]) -> None:
    blocks = Blocks.of(EDITABLE, 2, steps)
    planned = [blocks.planned(torch.tensor([j, j, j]))[0].item() for j in range(3)]
    assert planned == expected
    assert sum(expected) == steps


def test_fewer_steps_than_blocks_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"2 steps are too few for 3 blocks of 2 tokens.*use steps of at least 3"):
        Blocks.of(EDITABLE, 2, 2)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_network_is_told_the_time_of_the_same_share_of_clean_tokens(schedule: str) -> None:
    process = MaskProcess(MaskParams(schedule=SCHEDULES[schedule].Params()), Vocabulary.after(3))
    blocks = Blocks.of(EDITABLE, 2, 6)
    t = torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64)
    told = blocks.model_time(process, torch.tensor([1, 2, 0]), t)
    assert told.shape == EDITABLE.shape
    kappa = process.schedule.kappa(told[:, 0])
    half, quarter = process.schedule.kappa(t)[:2].tolist()
    # Row 0: block 0 of 2 tokens is clean, block 1 of 2 at t = ½, block 2 is noise. Row 1: the last block has one token.
    assert float(kappa[0]) == pytest.approx((2 + 2 * half) / 5)
    assert float(kappa[1]) == pytest.approx((4 + 1 * quarter) / 5)
    assert bool(told.isfinite().all())


def test_one_block_is_told_its_own_time_to_the_bit() -> None:
    process = MaskProcess(MaskParams(schedule=SCHEDULES["cosine"].Params()), Vocabulary.after(3))
    t = torch.tensor([0.1, 0.7, 0.3], dtype=torch.float64)
    told = Blocks.of(EDITABLE, None, 6).model_time(process, torch.zeros(3, dtype=torch.int64), t)
    assert torch.equal(told, t[:, None].expand(3, 8))
