"""One optimizer step: the same however it is split, and harmless where a gradient is not finite."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.objective import OBJECTIVES
from diffusionlm.runlog import Nvtx
from tests.diffusionlm.model.networks import network
from tests.diffusionlm.process.batches import lay_rows
from tests.diffusionlm.training.parts import BATCH, make_step, weights

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("sizes", [(2, 2), (1, 1, 1, 1), (3, 1)])
def test_accumulation_changes_nothing(objective, sizes):
    ends = torch.tensor(sizes).cumsum(0).tolist()
    parts = [BATCH.rows(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    steps = [make_step(objective=objective), make_step(objective=objective)]
    for number in range(3):
        whole, split = steps[0]([BATCH], number, 1.0), steps[1](parts, number, 1.0)
        assert torch.allclose(whole.loss, split.loss, rtol=1e-12)
        assert torch.allclose(whole.gradient.norm, split.gradient.norm, rtol=1e-10)
        assert whole.tokens == split.tokens == 33
    for one, other in zip(weights(steps[0]).values(), weights(steps[1]).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_ranks_take_their_own_rows_of_the_step():
    """Each of two ranks corrupts its half exactly as one process corrupts it."""
    alone = make_step()._prepare([BATCH], 3)[0]
    halves = [make_step(rank=rank, world=2)._prepare([BATCH.rows(2 * rank, 2 * rank + 2)], 3)[0] for rank in (0, 1)]
    assert torch.equal(alone.corrupted.x_t, torch.cat([half.corrupted.x_t for half in halves]))
    assert torch.equal(alone.corrupted.t, torch.cat([half.corrupted.t for half in halves]))


def test_a_step_moves_weights_average_and_loss():
    step = make_step()
    before = weights(step)
    losses = [float(step([BATCH], number, 1.0).loss) for number in range(30)]
    assert all(not torch.equal(before[name], now) for name, now in weights(step).items())
    assert sum(losses[-10:]) < sum(losses[:10])
    assert step.ema is not None
    average = step.ema.state_tensors()
    assert all(not torch.equal(average[name], now) for name, now in weights(step).items())
    assert all(parameter.grad is None or not bool(parameter.grad.any()) for parameter in step.parameters.values())


def test_the_multiplier_scales_the_step():
    step = make_step()
    before = weights(step)
    step([BATCH], 0, 0.0)
    assert all(torch.equal(before[name], now) for name, now in weights(step).items())


def test_a_step_is_a_function_of_its_number():
    results = []
    for _ in range(2):
        torch.rand(7)  # what torch's generator did before makes no difference
        step = make_step(network(dropout=0.2).train())
        results.append([float(step([BATCH], number, 1.0).loss) for number in (5, 6)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_everything_alone(poison, device):
    step = make_step(device=device)
    step([BATCH], 0, 1.0)
    before, average = weights(step), {n: t.clone() for n, t in step.ema.state_tensors().items()}  # type: ignore[union-attr]
    state = {n: t.clone() for n, t in step.optimizer.state_tensors().items()}
    scalars = step.optimizer.state_scalars()
    hook = step.parameters["head.weight"].register_hook(lambda grad: grad * poison)
    result = step([BATCH], 1, 1.0)
    hook.remove()
    assert not result.applied
    assert not bool(result.gradient.finite)
    assert all(torch.equal(before[name], now) for name, now in weights(step).items())
    assert all(torch.equal(average[n], t) for n, t in step.ema.state_tensors().items())  # type: ignore[union-attr]
    assert all(torch.equal(state[n], t) for n, t in step.optimizer.state_tensors().items())
    assert step.optimizer.state_scalars() == scalars
    assert step([BATCH], 2, 1.0).applied


def test_a_step_with_nothing_to_score():
    given = lay_rows([[(0, [1, 2, 3])]], 12, frozen=3)
    empty = Batch(**{name: value.expand(4, 12) for name, value in vars(given).items()})
    result = make_step()([empty], 0, 1.0)
    assert (float(result.loss), float(result.gradient.norm), result.tokens) == (0.0, 0.0, 0)


def test_profiler_marks_name_the_parts(monkeypatch):
    step, seen = make_step(), []
    original = Nvtx.range
    monkeypatch.setattr(Nvtx, "range", lambda self, name: (seen.append(name), original(self, name))[1])
    step([BATCH], 0, 1.0)
    assert seen == ["corrupt", "forward", "backward", "optimizer"]
