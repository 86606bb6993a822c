"""Re-masking: how often, when, and never what was given. Laws are in tests/oracle/."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import Frame, Sampled, sample
from diffusionlm.process import Head, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.rng import Draws
from diffusionlm.sampling import Filters, ReMDM, State
from diffusionlm.sampling.remdm import ReMDMParams

K = 6
PROCESS = MaskProcess(MaskParams(), Vocabulary.after(K))
VARIANTS = ["cap", "rescale", "conf", "loop"]


class Flat:
    """Nothing is known, and the times are noted."""

    kind: Head = "posterior"

    def __init__(self) -> None:
        self.told: list[float] = []

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        self.told.append(float(t[0, 0]))
        return torch.zeros(len(rows), K, dtype=torch.float64)


def build(**params: Any) -> ReMDM:
    return ReMDM(ReMDMParams.model_validate(params), PROCESS, Filters())


def run(sampler: ReMDM, steps: int, number: int = 300, **options: Any) -> tuple[Sampled, list[Frame]]:
    frames: list[Frame] = []
    canvas = lay_out([Template(((1, 2), Hole(5), (3,), Hole(5)))] * number, range(number))
    result = sample(Flat(), sampler, canvas, steps=steps, seed=0, observe=frames.append, **options)
    return result, frames


def remasked(frames: list[Frame]) -> torch.Tensor:
    """Return how many tokens each step masked again, over the batch."""
    pairs = pairwise(frames)
    return torch.tensor([int(((b.z == K) & (a.z != K)).sum()) for a, b in pairs])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("block_length", [None, 4])
def test_given_tokens_and_finished_blocks_are_never_masked_again(variant: str, block_length: int | None) -> None:
    result, frames = run(build(variant=variant, eta=1.0), 40, block_length=block_length)
    assert int(result.ids.max()) < K
    assert int(remasked(frames).sum()) > 0
    for frame in frames:
        assert bool((frame.z[:, [0, 1, 7]] == torch.tensor([1, 2, 3])).all())
    if block_length is not None:
        first = [0, 1, 2, 3]
        done = next(i for i, frame in enumerate(frames) if int(frame.step) >= 13)
        positions = torch.tensor([2, 3, 4, 5])[first]
        assert all(torch.equal(frame.z[:, positions], frames[done + 1].z[:, positions]) for frame in frames[done + 1 :])


@pytest.mark.parametrize("variant", ["cap", "rescale"])
def test_the_share_of_clean_tokens_stays_on_the_schedule(variant: str) -> None:
    _, frames = run(build(variant=variant, eta=0.4), 10, number=2000)
    assert int(remasked(frames).sum()) > 1000
    for frame in frames[1:]:
        clean = 1.0 - float(frame.noise.sum()) / float(frame.canvas.editable.sum())
        assert clean == pytest.approx((frame.step + 1) / 10, abs=0.015)


def test_loop_pauses_at_its_level_and_tells_the_network() -> None:
    sampler, head = build(variant="loop", eta=0.1), Flat()
    canvas = lay_out([Template((Hole(10),))] * 2000, range(2000))
    frames: list[Frame] = []
    sample(head, sampler, canvas, steps=20, seed=0, observe=frames.append)
    clean = [1.0 - float(frame.noise.double().mean()) for frame in frames[1:]]
    assert clean[8:19] == pytest.approx([0.9] * 11, abs=0.01)
    assert clean[3] == pytest.approx(0.9 * 4 / 9, abs=0.015)
    assert clean[-1] == 1.0
    again = remasked(frames)
    assert int(again[:9].sum()) == 0
    assert int(again[9:19].min()) > 0
    assert int(again[19]) == 0
    assert head.told[10:19] == pytest.approx([0.9] * 9)


def test_nothing_is_masked_again_before_the_switch() -> None:
    _, frames = run(build(eta=0.3, switch=0.5), 10)
    again = remasked(frames)
    assert int(again[:5].sum()) == 0
    assert int(again[5:9].min()) > 0


def test_conf_takes_back_what_it_was_least_sure_of() -> None:
    sampler = build(variant="conf")
    z = torch.tensor([[0, 1, K, 2]])
    zeros = torch.zeros_like(z)
    psi = torch.tensor([[0.9, 0.1, 0.0, 0.5]], dtype=torch.float64)
    half = torch.tensor([0.5], dtype=torch.float64)
    state = State(z, z >= 0, half, zeros[:, 0], zeros[:, 0] + 9, Draws(0, 0, zeros, zeros, zeros), {"psi": psi})
    sigma = sampler.sigma(state, half + 0.1)
    weight = torch.softmax(-psi[0, [0, 1, 3]], 0) * (0.4 / 0.5)
    assert sigma[0, [0, 1, 3]].tolist() == pytest.approx(weight.tolist())
    assert float(sigma[0, 2]) == 0.0


@pytest.mark.parametrize(
    ("params", "law"),
    [
        ({}, "heuristic"),
        ({"eta": 0.0}, "joint"),
        ({"eta_per": "run"}, "joint"),
        ({"eta_per": "run", "variant": "loop"}, "joint"),
        ({"eta_per": "run", "variant": "conf"}, "heuristic"),
    ],
)
def test_the_law_is_joint_where_remasking_is_of_order_1_over_n(params: dict[str, Any], law: str) -> None:
    assert build(**params).law == law


def test_parameters_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than a probability"):
        ReMDMParams(eta=1.5)
    assert ReMDMParams(eta=1.5, eta_per="run").resolved_eta == 1.5
    with pytest.raises(ValidationError, match="comes after t_off"):
        ReMDMParams(t_on=0.9, t_off=0.5)
    assert [build(variant=variant).params.resolved_eta for variant in VARIANTS] == [0.008, 0.04, 1.0, 0.02]
