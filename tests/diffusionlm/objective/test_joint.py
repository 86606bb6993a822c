"""The joint objective: each part alone, and the sum of the two in value and in gradient."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.process import PROCESSES
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents

BATCH = lay_rows([random_documents([5, 6, 3], K), random_documents([9, 4], K, 1)], 14, frozen=1)


def loss_and_gradient(name: str, process: str, **values: float) -> tuple[float, dict[str, torch.Tensor]]:
    model = network()
    noise = PROCESSES.build(PROCESSES[process].Params(), VOCABULARY)
    objective = OBJECTIVES.build(OBJECTIVES[name].Params.model_validate(values), noise)
    part = prepare(objective, BATCH, 0, 1, torch.arange(2), 2)
    loss = loss_sum(model, part).total / part.denominator
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("process", ["mask", "block"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_loss_is_the_bound_plus_a_share_of_next_token(process: str, weight: float) -> None:
    joint, bound = loss_and_gradient("joint", process, ar_weight=weight), loss_and_gradient("nelbo", process)
    causal = loss_and_gradient("ar", "ar")
    assert joint[0] == pytest.approx(bound[0] + weight * causal[0], rel=1e-12)
    for name, found in joint[1].items():
        assert torch.allclose(found, bound[1][name] + weight * causal[1][name], atol=1e-12), name


def test_without_a_share_there_is_no_second_pass() -> None:
    noise = PROCESSES.build(PROCESSES["mask"].Params(), VOCABULARY)
    passes = []
    for weight in (0.0, 1.0):
        objective = OBJECTIVES.build(OBJECTIVES["joint"].Params.model_validate({"ar_weight": weight}), noise)
        passes.append(len(prepare(objective, BATCH, 0, 1, torch.arange(2), 2).passes))
    assert passes == [1, 2]
