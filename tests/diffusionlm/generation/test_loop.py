"""The loop: frozen positions, early stops, network evaluations, frames. Laws are in tests/oracle/test_samplers.py."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import Frame, Sampled, sample
from diffusionlm.process import Head, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.sampling import Ancestral, Confidence, Filters, Plan, Sampler, State, Step
from diffusionlm.sampling.ancestral import AncestralParams
from diffusionlm.sampling.confidence import ConfidenceParams

K, EOS = 8, 7
PROCESS = MaskProcess(MaskParams(), Vocabulary.after(K))


class Script:
    """Writes ``target[b][i]`` with certainty, or in a flat distribution where there is none."""

    kind: Head = "posterior"

    def __init__(self, target: list[list[int]]) -> None:
        self.target = torch.tensor(target)
        self.asked: list[list[int]] = []

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        self.asked.append(rows.tolist())
        target = self.target.flatten()[rows]
        certain = torch.full((len(rows), K), -1e4).scatter(1, target.clamp_min(0)[:, None], 0.0)
        return torch.where((target >= 0)[:, None], certain, 0.0)


def confidence() -> Confidence:
    return Confidence(ConfidenceParams(), PROCESS, Filters())


def left_to_right(
    target: list[list[int]], stop_id: int | None, block_length: int | None = 1, **options: int
) -> Sampled:
    canvas = lay_out([Template((Hole(len(row)),)) for row in target], range(len(target)))
    steps = options.pop("steps", len(target[0]))
    return sample(
        Script(target), confidence(), canvas, steps=steps, seed=0, stop_id=stop_id, block_length=block_length, **options
    )


def test_rows_stop_when_nothing_before_their_end_can_change() -> None:
    target = [[1, 2, EOS, 3, 4, 5], [1, EOS, EOS, EOS, EOS, EOS], [1, 2, 3, 4, 5, 6]]
    result = left_to_right(target, EOS)
    assert result.nfe.tolist() == [3, 2, 6]
    assert result.ids[0].tolist() == [1, 2, EOS, K, K, K]
    assert result.ids[2].tolist() == target[2]
    assert left_to_right(target, None).ids.tolist() == target


def test_blocks_stop_at_the_block_that_holds_the_end() -> None:
    result = left_to_right([[1, 2, 3, EOS, 4, 5, 6, 6]], EOS, block_length=4, steps=8)
    assert result.nfe.tolist() == [4]
    assert result.ids[0, :4].tolist() == [1, 2, 3, EOS]
    assert result.ids[0, 4:].tolist() == [K] * 4


def test_an_end_in_the_prompt_stops_nothing() -> None:
    canvas = lay_out([Template(((EOS, 1), Hole(3)))], [0])
    result = sample(Script([[0, 0, 1, 2, 3]]), confidence(), canvas, steps=3, seed=0, stop_id=EOS)
    assert result.ids.tolist() == [[EOS, 1, 1, 2, 3]]


def test_stopping_early_does_not_change_the_text() -> None:
    """Up to its end a row is the same whether or not the loop knows the end-of-text token."""
    number, width = 200, 12
    canvas = lay_out([Template((Hole(width),))] * number, range(number))
    flat = [[-1] * width] * number
    for sampler in (confidence(), Ancestral(AncestralParams(), PROCESS, Filters())):
        stopping = sample(Script(flat), sampler, canvas, steps=width, seed=1, stop_id=EOS)
        whole = sample(Script(flat), sampler, canvas, steps=width, seed=1)
        ended = 0
        for short, full in zip(stopping.ids.tolist(), whole.ids.tolist()):
            cut = full.index(EOS) + 1 if EOS in full else width
            assert short[:cut] == full[:cut]
            ended += K in short
        assert ended > 20
        assert int(stopping.nfe.sum()) < int(whole.nfe.sum())


def test_a_step_without_a_token_makes_no_call() -> None:
    canvas = lay_out([Template((Hole(3),))], [0])
    script = Script([[1, 2, 3]])
    result = sample(script, confidence(), canvas, steps=1000, seed=0)
    assert len(script.asked) == 3 == int(result.nfe)


def test_finished_rows_are_not_asked_again() -> None:
    canvas = lay_out([Template((Hole(1),)), Template((Hole(4),))], [0, 1])
    script = Script([[1, 0, 0, 0], [1, 2, 3, 4]])
    result = sample(script, confidence(), canvas, steps=4, seed=0)
    assert result.nfe.tolist() == [1, 4]
    assert sum(row < 4 for rows in script.asked for row in rows) == 1


def test_nothing_to_fill_is_no_step() -> None:
    result = sample(Script([[0, 0]]), confidence(), lay_out([Template(((3, 4),))], [0]), steps=5, seed=0)
    assert result.ids.tolist() == [[3, 4]]
    assert (result.steps, result.nfe.tolist()) == (0, [0])


def test_frames_show_start_and_every_step() -> None:
    frames: list[Frame] = []
    canvas = lay_out([Template(((5,), Hole(3)))], [0])
    result = sample(Script([[0, 1, 2, 3]]), confidence(), canvas, steps=3, seed=0, observe=frames.append)
    assert [int(frame.noise.sum()) for frame in frames] == [3, 2, 1, 0]
    assert [int(frame.changed.sum()) for frame in frames] == [0, 1, 1, 1]
    assert torch.equal(frames[-1].z, result.ids)


class Vandal(Ancestral):
    """Writes over everything, given tokens and later blocks included."""

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        moved = super().step(state, plan, rows, logits)
        return Step(torch.where(state.open, moved.z, 6), moved.t, moved.confidence)


def test_a_sampler_cannot_touch_what_is_not_open() -> None:
    canvas = lay_out([Template(((1, 2), Hole(4), (3,)))], [0])
    script = Script([[0, 0, 1, 2, 4, 5, 0]])
    result = sample(script, Vandal(AncestralParams(), PROCESS, Filters()), canvas, steps=4, seed=0, block_length=2)
    assert result.ids.tolist() == [[1, 2, 1, 2, 4, 5, 3]]


class Diary(Confidence):
    """Notes the clock of every step."""

    notes: list[tuple[float, int, int, float]]

    def plan(self, state: State) -> Plan:
        plan = super().plan(state)
        self.notes.append((float(state.t), int(state.step), int(state.steps), float(plan.u)))
        return plan


def test_every_block_has_a_clock_of_its_own() -> None:
    diary = Diary(ConfidenceParams(), PROCESS, Filters())
    diary.notes = []
    canvas = lay_out([Template((Hole(5),))], [0])
    sample(Script([[1] * 5]), diary, canvas, steps=7, seed=0, block_length=2)
    # Blocks of 2, 2 and 1 tokens share 7 steps as 3, 2, 2; halves round up, so that each block needs its last step.
    third = [0.0, 1 / 3, 2 / 3, 1.0]
    half = [0.0, 0.5, 1.0]
    assert diary.notes == [
        *((third[i], i, 3, third[i + 1]) for i in range(3)),
        *((half[i], i, 2, half[i + 1]) for i in range(2)),
        *((half[i], i, 2, half[i + 1]) for i in range(2)),
    ]


class Idle(Ancestral):
    """Never does anything."""

    def plan(self, state: State) -> Plan:
        return Plan(torch.zeros_like(state.open), torch.zeros_like(state.t))


def test_a_sampler_that_never_finishes_is_caught() -> None:
    canvas = lay_out([Template((Hole(2),))], [0])
    with pytest.raises(AssertionError, match="step 7 of a run of at most 7: the sampler does not finish"):
        sample(Script([[0, 0]]), Idle(AncestralParams(), PROCESS, Filters()), canvas, steps=5, seed=0)


class Rewriter(Sampler):
    """Remembers, in its memory, how often it was called, and rewrites every open token to that number."""

    Params = AncestralParams
    requires = MaskProcess
    heads = frozenset({"leave_one_out"})
    monotone = False

    def start(self, z: torch.Tensor, editable: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"calls": editable.sum(1) * 0}

    def plan(self, state: State) -> Plan:
        return Plan(state.open, state.grid())

    def step(self, state: State, plan: Plan, rows: torch.Tensor, logits: torch.Tensor) -> Step:
        calls = state.memory["calls"] + 1
        unknown = torch.full(state.z.shape, torch.nan, dtype=torch.float64)
        return Step(calls[:, None].expand_as(state.z), plan.u, unknown, {"calls": calls})


def test_a_sampler_may_edit_remember_and_need_another_head() -> None:
    canvas = lay_out([Template((Hole(4),))], [0])
    script = Script([[0] * 4])
    rewriter = Rewriter(AncestralParams(), PROCESS, Filters())
    script.kind = "leave_one_out"
    # Two blocks of two steps: the first ends at call 2, the second at call 4, and a visible token may still change.
    result = sample(script, rewriter, canvas, steps=4, seed=0, block_length=2)
    assert result.ids.tolist() == [[2, 2, 4, 4]]
    # Token 1 is written first but does not stop the row: only a finished block can.
    assert sample(script, rewriter, canvas, steps=4, seed=0, stop_id=1).ids.tolist() == [[4] * 4]
    assert sample(script, rewriter, canvas, steps=4, seed=0, stop_id=2, block_length=2).ids.tolist() == [[2, 2, K, K]]


class Impossible(Script):
    """Gives a token no chance at all."""

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return super().predict(z, t, rows).index_fill(1, torch.tensor([2]), -torch.inf)


def test_an_impossible_token_is_never_drawn() -> None:
    canvas = lay_out([Template((Hole(3),))], [0])
    first, second, third = sample(Impossible([[1, 2, 3]]), confidence(), canvas, steps=3, seed=0).ids[0].tolist()
    assert (first, third) == (1, 3)
    assert second != 2
