"""Rules that reveal what the network is sure of: their counts and their limiting cases."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import Sampled, sample
from diffusionlm.process import Head, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.sampling import Confidence, EntropyBound, Factor, Filters, Threshold
from diffusionlm.sampling.confidence import ConfidenceParams
from diffusionlm.sampling.entropy_bound import EntropyBoundParams
from diffusionlm.sampling.factor import FactorParams
from diffusionlm.sampling.parallel import Parallel
from diffusionlm.sampling.threshold import ThresholdParams

K, LENGTH = 6, 8
PROCESS = MaskProcess(MaskParams(), Vocabulary.after(K))


class Sharpening:
    """Logits that depend on the canvas and sharpen as it fills."""

    kind: Head = "posterior"

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        context = torch.where(z < K, torch.sin(1.7 * z + torch.arange(z.shape[1])), 0.0).sum(1, keepdim=True)
        phase = context[..., None] + 0.9 * torch.arange(z.shape[1])[None, :, None] * torch.arange(1, K + 1)
        sharp = 1.0 + (z < K).sum(1)[:, None, None]
        return (sharp * torch.sin(phase)).double().reshape(-1, K)[rows]


def threshold(value: float) -> Threshold:
    return Threshold(ThresholdParams(threshold=value), PROCESS, Filters())


def factor(value: float) -> Factor:
    return Factor(FactorParams(factor=value), PROCESS, Filters())


def entropy_bound(value: float) -> EntropyBound:
    return EntropyBound(EntropyBoundParams(gamma=value), PROCESS, Filters())


def run(sampler: Parallel | Confidence, steps: int = LENGTH, **options: int) -> Sampled:
    canvas = lay_out([Template(((1,), Hole(LENGTH), (2,)))] * 20, range(20))
    return sample(Sharpening(), sampler, canvas, steps=steps, seed=0, trace=True, **options)


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(threshold(1.0), "max_prob"), (factor(1e-12), "max_prob"), (entropy_bound(0.0), "entropy")],
)
def test_the_strict_end_is_one_token_a_call_in_the_order_of_confidence(sampler: Parallel, order: str) -> None:
    reference = Confidence(ConfidenceParams.model_validate({"order": order}), PROCESS, Filters())
    a, b = run(sampler), run(reference)
    assert torch.equal(a.ids, b.ids)
    assert a.nfe.tolist() == [LENGTH] * 20
    assert [step.position.tolist() for step in a.trace] == [step.position.tolist() for step in b.trace]


@pytest.mark.parametrize("sampler", [threshold(1e-9), factor(1e9), entropy_bound(1e9)])
def test_the_loose_end_is_everything_at_once(sampler: Parallel) -> None:
    assert run(sampler).nfe.tolist() == [1] * 20
    assert run(sampler, block_length=4).nfe.tolist() == [2] * 20


@pytest.mark.parametrize("sampler", [threshold(0.8), factor(1.0), entropy_bound(0.3)])
def test_between_the_ends_the_calls_are_fewer_than_the_tokens(sampler: Parallel) -> None:
    result = run(sampler)
    assert 1 < float(result.nfe.double().mean()) < LENGTH
    assert int(result.ids.max()) < K


@pytest.mark.parametrize("sampler", [threshold(1.0), factor(1e-12), entropy_bound(0.0)])
def test_steps_stay_the_most_calls(sampler: Parallel) -> None:
    for steps in (1, 3, 5):
        assert run(sampler, steps).nfe.tolist() == [steps] * 20


def descending(scores: list[float]) -> torch.Tensor:
    return torch.tensor([sorted(scores, reverse=True) + [-math.inf] * 2], dtype=torch.float64)


@pytest.mark.parametrize("value", [0.5, 0.9, 0.95])
def test_threshold_counts_what_reaches_it(value: float) -> None:
    c = [0.99, 0.95, 0.9, 0.6, 0.2]
    expected = max(1, sum(x >= value - 1e-12 for x in c))
    assert int(threshold(value - 1e-12).count(descending([math.log(x) for x in c]))) == expected


@pytest.mark.parametrize("value", [0.01, 0.1, 0.5, 1.0, 2.0, 6.0])
def test_factor_is_the_largest_n_that_fits(value: float) -> None:
    c = [0.99, 0.95, 0.9, 0.6, 0.2]
    fitting = [n for n in range(1, 6) if (n + 1) * (1 - c[n - 1]) < value]
    assert int(factor(value).count(descending([math.log(x) for x in c]))) == max(fitting, default=1)


@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.4, 1.0, 5.0])
def test_the_entropy_bound_takes_the_largest_set(gamma: float) -> None:
    entropies = [0.7, 0.02, 0.3, 0.05, 1.1]
    largest = max(
        len(chosen)
        for n in range(1, 6)
        for chosen in itertools.combinations(entropies, n)
        if sum(chosen) - max(chosen) <= gamma + 1e-12
    )
    assert int(entropy_bound(gamma + 1e-12).count(descending([-h for h in entropies]))) == largest


def test_the_network_is_told_how_much_is_clean() -> None:
    told: list[list[float]] = []

    class Notes(Sharpening):
        def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            told.append(t[:, 0].tolist())
            return super().predict(z, t, rows)

    canvas = lay_out([Template((Hole(4),))], [0])
    sample(Notes(), threshold(1.0), canvas, steps=60, seed=0)
    assert told == [[0.0], [0.25], [0.5], [0.75]]
