from __future__ import annotations

import numpy as np
import torch

from diffusionlm.data.batch import concatenate
from diffusionlm.data.rows import RowLoader
from tests.diffusionlm.data.doubles import addressed_store


def test_rows_are_views_and_concatenate_undoes_them() -> None:
    batch = RowLoader(addressed_store([9] * 6), 8).batch(np.arange(6))
    parts = [batch.rows(0, 1), batch.rows(1, 4), batch.rows(4, 6)]
    assert [len(part) for part in parts] == [1, 3, 2]
    assert parts[1].x_1.data_ptr() == batch.x_1[1:].data_ptr()
    for name, tensor in vars(concatenate(parts)).items():
        assert torch.equal(tensor, vars(batch)[name])


def test_to_moves_every_tensor() -> None:
    batch = RowLoader(addressed_store([9] * 6), 8).batch(np.arange(2))
    assert all(tensor.device.type == "meta" for tensor in vars(batch.to("meta")).values())


def test_editable_leaves_out_padding_and_frozen_positions() -> None:
    batch = RowLoader(addressed_store([3]), 4).batch(np.arange(1))
    batch.frozen[0, 1] = True
    assert batch.editable.tolist() == [[True, False, True, False]]
