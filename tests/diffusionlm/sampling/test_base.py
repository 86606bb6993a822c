"""Pairings, the time grid and the helpers of samplers."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from diffusionlm.errors import ConfigError, PairingError
from diffusionlm.params import Strict
from diffusionlm.process import MaskProcess, Process, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.rng import Draws
from diffusionlm.sampling import SAMPLERS, Ancestral, Filters, State
from diffusionlm.sampling.ancestral import AncestralParams
from diffusionlm.sampling.base import place


class FogParams(Strict):
    """Not a mask."""

    name: Literal["fog"] = "fog"


class Fog(Process):
    """Another kind of process."""

    Params = FogParams


def test_a_wrong_pair_is_refused_in_one_line_that_lists_what_fits() -> None:
    with pytest.raises(PairingError, match=r"^sampler 'ancestral' does not fit process 'fog'; samplers .*") as error:
        Ancestral.check(Fog)
    assert "samplers that fit 'fog': none; processes that fit 'ancestral':" in str(error.value)
    assert "mask" in str(error.value).split("processes that fit")[1]
    assert "\n" not in str(error.value)
    assert isinstance(error.value, ConfigError)


def test_a_kind_of_mask_process_fits() -> None:
    class Special(MaskProcess):
        """A mask process with something more."""

    Ancestral.check(Special)


def test_a_head_of_the_wrong_kind_is_converted() -> None:
    class OnlyPosterior(Ancestral):
        """Needs a posterior."""

        heads = frozenset({"posterior"})

    sampler = OnlyPosterior(AncestralParams(), MaskProcess(MaskParams(), Vocabulary.after(3)), Filters())
    assert sampler.wanted_head("posterior") == "posterior"
    assert sampler.wanted_head("leave_one_out") == "posterior"


def test_an_unknown_sampler_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown sampler 'ddim'; known: ancestral, .*confidence"):
        SAMPLERS["ddim"]


@pytest.mark.parametrize("steps", [1, 3, 7, 49, 1000])
def test_the_grid_ends_at_exactly_one(steps: int) -> None:
    zeros = torch.zeros(1, 1, dtype=torch.int64)
    times = []
    for step in range(steps):
        state = State(
            zeros,
            zeros.bool(),
            torch.zeros(1, dtype=torch.float64),
            torch.tensor([step]),
            torch.tensor([steps]),
            Draws(0, 0, zeros, zeros, zeros),
        )
        times.append(float(state.grid()))
    assert times[-1] == 1.0
    assert times == sorted(set(times))
    assert times[0] == 1 / steps


def test_place_copies() -> None:
    z = torch.arange(6).reshape(2, 3)
    placed = place(z, torch.tensor([1, 5]), torch.tensor([70, 80]))
    assert placed.tolist() == [[0, 70, 2], [3, 4, 80]]
    assert z.tolist() == [[0, 1, 2], [3, 4, 5]]
