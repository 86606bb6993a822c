"""The bound as a loss: on a joint with the exact head it averages to the entropy."""

import statistics

import pytest
import torch

from diffusionlm.objective import NELBO
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.nelbo import NELBOParams
from diffusionlm.process import SCHEDULES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.process.batches import lay_rows
from tests.oracle.joint import OracleModel, random_joint

JOINT = random_joint(3, 3, seed=0)


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_expected_loss_is_the_entropy(schedule, corruption):
    counts = (JOINT.flat() * 4000).round().long()
    x = JOINT.sequences().repeat_interleave(counts, 0)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    batch = lay_rows([[(i, row)] for i, row in enumerate(x.tolist())], JOINT.length)
    params = MaskParams.model_validate({"schedule": {"name": schedule}, "corruption": corruption})
    objective = NELBO(NELBOParams(), MaskProcess(params, Vocabulary.after(3)))
    losses = []
    for step in range(12):
        part = prepare(objective, batch, 0, step, torch.arange(len(batch)), len(batch))
        losses.append(float(loss_sum(OracleModel(JOINT), part).total / part.denominator) * JOINT.length)
    exact = float((counts.double() * -JOINT.flat().log()).sum() / counts.sum())
    error = statistics.stdev(losses) / len(losses) ** 0.5
    assert error < 0.03 * exact
    assert abs(statistics.mean(losses) - exact) < 4 * error


def test_it_weighs_by_the_jump_rate_and_divides_by_the_editable_tokens():
    batch = lay_rows([[(0, [1, 2, 0, 1, 2, 0, 1])]], 9, frozen=2)
    objective = NELBO(NELBOParams(), MaskProcess(MaskParams(), Vocabulary.after(3)))
    for step in range(5):
        part = prepare(objective, batch, 0, step, torch.arange(1), 1)
        t = float(part.corrupted.t[0, 0])
        assert part.passes[0].weight.tolist() == pytest.approx([1 / (1 - t)] * part.passes[0].scored)
        assert int(part.denominator) == 5
