"""The objective's own loss on held-out rows: an average that repeats itself and knows the bound where it is one."""

import pytest
import torch

from diffusionlm.evaluation import objective_loss
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import PROCESSES
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents

BATCH = lay_rows([[document] for document in random_documents([6] * 40, K)], 6)


def loss(name: str, seed: int = 0, draws: int = 4) -> float:
    process = PROCESSES.build(PROCESSES["mask"].Params(), VOCABULARY)
    objective = OBJECTIVES.build(OBJECTIVES[name].Params(), process)
    return objective_loss(network(), objective, [BATCH], draws=draws, seed=seed, device=torch.device("cpu"))


def test_it_is_a_function_of_the_seed():
    assert loss("ce") == loss("ce")
    assert loss("ce") != loss("ce", seed=1)


def test_it_is_a_mean_over_the_scored_tokens():
    """A fresh network says about ln K of every token, whatever the number of draws."""
    assert loss("ce", draws=1) == pytest.approx(loss("ce", draws=8), rel=0.1)
    assert loss("nelbo", draws=8) == pytest.approx(loss("ce", draws=8), rel=0.25)
