"""Rounds of correction after a sampler: what they mend, what they leave, what they count."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.errors import PairingError
from diffusionlm.generation.canvas import Canvas, Hole, Template, lay_out
from diffusionlm.generation.loop import Frame, Sampled, sample
from diffusionlm.generation.self_correction import SelfCorrectionParams, self_correct, unsettled
from diffusionlm.sampling import AnyPosition, Filters
from diffusionlm.sampling.any_position import AnyPositionParams
from tests.oracle.near_certain import TEXT, K, near_certain, oracle, process_of

L, PROCESS = len(TEXT), process_of("uniform")
HEAD = oracle(PROCESS, near_certain())


def made(canvas: Canvas, ids: list[list[int]]) -> Sampled:
    """Return what a sampler that wrote ``ids`` in ten steps would have left."""
    z = torch.tensor(ids)
    number = torch.full((len(ids),), 10)
    return Sampled(z, number, 10, (), PROCESS.source(canvas.ids, canvas.editable, _draws(canvas)))


def _draws(canvas: Canvas):
    from diffusionlm.rng import Draws

    return Draws(0, 0, canvas.ids, canvas.ids, torch.arange(L).expand_as(canvas.ids))


def correct(canvas: Canvas, ids: list[list[int]], stop_id: int | None = None, **options: object) -> Sampled:
    params = SelfCorrectionParams(rounds=12)
    return self_correct(params, PROCESS, lambda of: HEAD, canvas, made(canvas, ids), seed=0, stop_id=stop_id, **options)  # type: ignore[arg-type]


def test_wrong_tokens_are_mended_and_right_ones_left() -> None:
    wrong = [[*TEXT[:i], (TEXT[i] + 1) % K, *TEXT[i + 1 :]] for i in range(L)]
    canvas = lay_out([Template((Hole(L),))] * (L + 1), range(L + 1))
    result = correct(canvas, [*wrong, TEXT])
    assert result.ids.tolist() == [TEXT] * (L + 1)
    # Ten of the sampler; one that mends and one that finds nothing; and one alone where all was right.
    assert result.nfe.tolist() == [12] * L + [11]


def test_given_tokens_and_what_follows_the_end_stay() -> None:
    canvas = lay_out([Template(((0,), Hole(L - 1)))], [0])
    ids = [0, *TEXT[1:]]
    assert correct(canvas, [ids]).ids.tolist() == [ids]
    # Token 3 ends the text at position 2: the end and the noise after it are no business of the correction.
    canvas = lay_out([Template((Hole(L),))], [0])
    broken = [TEXT[0], (TEXT[1] + 1) % K, 3, 0]
    result = correct(canvas, [broken], stop_id=3)
    assert result.ids[0, 2:].tolist() == broken[2:]


def test_steps_trace_and_frames_go_on_from_the_sampler() -> None:
    canvas, frames = lay_out([Template((Hole(L),))] * 6, range(6)), list[Frame]()
    sampler = AnyPosition(AnyPositionParams(edits=1), PROCESS, Filters())
    first = sample(HEAD, sampler, canvas, steps=3, seed=0, trace=True, observe=unsettled(frames.append, canvas))
    assert not any(bool(frame.settled.any()) for frame in frames)
    result = self_correct(
        SelfCorrectionParams(), PROCESS, lambda of: HEAD, canvas, first, seed=0, trace=True, observe=frames.append
    )
    assert [frame.step for frame in frames] == list(range(-1, result.steps))
    assert bool(frames[-1].settled.all())
    assert bool((result.nfe > first.nfe).all())
    z = result.start.clone()
    for step in result.trace:
        assert bool((z[step.sample, step.position] == step.old).all())
        z[step.sample, step.position] = step.new
    assert torch.equal(z, result.ids)
    assert result.ids.tolist() == [TEXT] * 6


def test_a_process_in_which_no_token_is_wrong_is_refused() -> None:
    with pytest.raises(
        PairingError, match=r"self_correction needs a process whose noise includes wrong tokens; .*'mask'"
    ):
        SelfCorrectionParams().editor(process_of("mask"))


@pytest.mark.parametrize(
    "wrong", [{"rounds": 2**63}, {"tokens": 2**63}, {"patience": 2**63}, {"temperature": 5e-324}, {"rounds": 0}]
)
def test_extreme_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SelfCorrectionParams.model_validate(wrong)
