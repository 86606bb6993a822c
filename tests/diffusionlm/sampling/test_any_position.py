"""Filling and editing: what is repaired, what is left alone, and that every way of going about it comes to an end."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.errors import PairingError
from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import Frame, Sampled, sample
from diffusionlm.process import DiscreteProcess, Head
from diffusionlm.rng import Draws
from diffusionlm.sampling import AnyPosition, Filters, Predictor, State
from diffusionlm.sampling.any_position import COUNT, AnyPositionParams
from tests.oracle.near_certain import TEXT, K, near_certain, oracle, process_of

ORDERS = ["gain", "low_confidence", "random", "left_to_right"]
REPLACEMENTS = ["argmax", "sample", "remask"]
L = len(TEXT)
GREEDY = Filters(temperature=0.0)


def rule(process: DiscreteProcess, filters: Filters = GREEDY, **settings: object) -> AnyPosition:
    if not process.has_uniform:
        settings = {"edits": 2, **settings}  # under masks alone edits are asked for
    return AnyPosition(AnyPositionParams.model_validate(settings), process, filters)


def refine(head: Predictor, sampler: AnyPosition, *drafts: list[int], steps: int = 16, **options: object) -> Sampled:
    canvas = lay_out([Template((Hole(len(draft), tuple(draft)),)) for draft in drafts], range(len(drafts)))
    return sample(head, sampler, canvas, steps=steps, seed=0, trace=True, **options)  # type: ignore[arg-type]


def corruptions() -> list[list[int]]:
    """Return every text that differs from TEXT in one token."""
    return [[*TEXT[:i], k, *TEXT[i + 1 :]] for i in range(L) for k in range(K) if k != TEXT[i]]


class Opinionated:
    """A posterior head that always gives position i the probabilities ``p[i]``, whatever stands there."""

    kind: Head = "posterior"

    def __init__(self, p: list[list[float]]) -> None:
        self.p = torch.tensor(p, dtype=torch.float64)
        self.told: list[float] = []

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        self.told.append(float(t.max()))
        return self.p.log().repeat(z.shape[0], 1)[rows]


class Contrary:
    """A posterior head that wants any token but the one that stands there: no text is a fixed point."""

    kind: Head = "posterior"

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        at = z.flatten()[rows]
        want = torch.where(at < K, (at + 1) % K, 0)
        return torch.full((len(rows), K), -4.0, dtype=torch.float64).scatter(1, want[:, None], 0.0)


@pytest.mark.parametrize(
    ("name", "kind", "replacement", "order"),
    [
        *(("mixture", "posterior", replacement, "gain") for replacement in REPLACEMENTS),
        *(("mixture", "leave_one_out", "argmax", order) for order in ORDERS),
        ("uniform", "posterior", "argmax", "gain"),
        ("uniform", "leave_one_out", "sample", "random"),
    ],
)
def test_the_oracle_repairs_one_wrong_token(name: str, kind: Head, replacement: str, order: str) -> None:
    process = process_of(name)
    sampler = rule(process, replacement=replacement, order=order)
    result = refine(oracle(process, near_certain(), kind), sampler, *corruptions())
    assert result.ids.tolist() == [TEXT] * len(corruptions())
    # One call to see it (two to fill the mask), and one to see that nothing is left to do.
    assert int(result.nfe.max()) <= (3 if replacement == "remask" else 2)


def test_with_a_mask_process_the_oracle_needs_the_leave_one_out_head() -> None:
    """There no token is ever wrong: the posterior is certain of what stands there, and nothing may be converted."""
    process = process_of("mask")
    leave_one_out = oracle(process, near_certain(), "leave_one_out")
    assert refine(leave_one_out, rule(process), *corruptions()).ids.tolist() == [TEXT] * len(corruptions())
    posterior = refine(oracle(process, near_certain()), rule(process), *corruptions())
    assert posterior.ids.tolist() == corruptions()


@pytest.mark.parametrize("name", ["mask", "mixture", "uniform"])
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_a_clean_text_is_a_fixed_point(name: str, replacement: str) -> None:
    process = process_of(name)
    if replacement == "remask" and not process.has_mask:
        return
    for threshold, margin in ((0.7, 1.0), (1.0, 0.0)):
        sampler = rule(process, replacement=replacement, threshold=threshold, margin=margin)
        head = oracle(process, near_certain(), "leave_one_out")
        result = refine(head, sampler, TEXT)
        assert result.ids.tolist() == [TEXT]
        assert result.nfe.tolist() == [1]
        assert sum(len(step.position) for step in result.trace) == 0


@pytest.mark.parametrize("name", ["mask", "mixture", "uniform"])
def test_from_noise_the_oracle_writes_its_text(name: str) -> None:
    process = process_of(name)
    canvas = lay_out([Template((Hole(L),))] * 20, range(20))
    head = oracle(process, near_certain(0.995), "leave_one_out")
    result = sample(head, rule(process), canvas, steps=12, seed=0)
    assert result.ids.tolist() == [TEXT] * 20
    assert int(result.nfe.max()) <= 12


@pytest.mark.parametrize("replacement", ["argmax", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_masks_only_ever_become_fewer(replacement: str, steps: int) -> None:
    process, frames = process_of("mixture", mask_share=0.8), list[Frame]()
    canvas = lay_out([Template((Hole(9),))] * 10, range(10))
    sampler = rule(process, Filters(), replacement=replacement, threshold=1.0, margin=0.0)
    sample(Contrary(), sampler, canvas, steps=steps, seed=0, observe=frames.append)
    left = torch.stack([frame.noise.sum(1) for frame in frames])
    assert bool((left[1:] <= left[:-1]).all())
    assert int(left[0].min()) > 0
    assert int(left[-1].max()) == 0


def test_remasking_adds_no_more_masks_than_edits_and_the_next_step_fills_them() -> None:
    process, frames = process_of("mask"), list[Frame]()
    canvas = lay_out([Template((Hole(9),))], [0])
    sampler = rule(process, Filters(), replacement="remask", edits=2, threshold=1.0, margin=0.0)
    result = sample(Contrary(), sampler, canvas, steps=16, seed=0, observe=frames.append, trace=True)
    remasked = [int((step.new == K).sum()) for step in result.trace]
    assert max(remasked) == 2
    assert remasked[-1] == 0
    for i, step in enumerate(result.trace):
        scheduled = round(9 * max(0.0, 1 - (i + 1) / (16 * 0.75)) + 1e-9)
        assert int(frames[i + 1].noise.sum()) <= scheduled + remasked[i]
        assert bool((step.confidence.isnan() == (step.new == K)).all())
    assert int(result.ids.max()) < K


WAYS = [("mixture", order, replacement) for order in ORDERS for replacement in REPLACEMENTS]
WAYS += [
    ("mask", "gain", "argmax"),
    ("mask", "gain", "remask"),
    ("uniform", "gain", "argmax"),
    ("uniform", "gain", "sample"),
]


@pytest.mark.parametrize(("name", "order", "replacement"), WAYS)
@pytest.mark.parametrize(("block_length", "filters"), [(None, Filters()), (3, GREEDY)])
def test_a_head_that_is_never_content_is_left_in_the_end(
    name: str, order: str, replacement: str, block_length: int | None, filters: Filters
) -> None:
    process = process_of(name)
    canvas = lay_out([Template(((0, 1), Hole(7)))] * 5, range(5))
    sampler = rule(process, filters, replacement=replacement, order=order, threshold=1.0, margin=0.0)
    result = sample(Contrary(), sampler, canvas, steps=18, seed=0, block_length=block_length)
    assert result.steps <= 18
    assert int(result.ids.max()) < K
    assert bool((result.ids[:, :2] == torch.tensor([0, 1])).all())


def test_a_position_is_edited_so_often_and_rests_in_between() -> None:
    sampler = rule(process_of("uniform"), threshold=1.0, margin=0.0, edits=1, cooldown=3, max_edits=3)
    # A cycle of K states would end an argmax refinement earlier: three edits of one position are no cycle of four.
    result = refine(Contrary(), sampler, [0], steps=30)
    assert [step.step for step in result.trace if len(step.position)] == [0, 4, 8]
    assert result.ids.tolist() == [[3]]


def test_coming_back_to_a_text_ends_an_argmax_refinement() -> None:
    sampler = rule(process_of("uniform"), threshold=1.0, margin=0.0, cooldown=0, max_edits=100)
    result = refine(Contrary(), sampler, [0], steps=50)
    assert result.nfe.tolist() == [K]
    assert result.ids.tolist() == [[0]]


def test_patience_ends_what_does_not_improve() -> None:
    drawn = {"replacement": "sample", "cooldown": 0, "max_edits": 100, "threshold": 1.0, "margin": 0.0}
    long = refine(Contrary(), rule(process_of("uniform"), **drawn), [0, 1, 2], steps=40)
    short = refine(Contrary(), rule(process_of("uniform"), **drawn, patience=5), [0, 1, 2], steps=40)
    assert (long.nfe.tolist(), short.nfe.tolist()) == ([40], [6])


def first_edits(order: str, **settings: object) -> list[int]:
    """Return the positions in the order in which they are edited, one a step."""
    # Gains (in probability ratios): 0.5/0.3, 0.8/0.15, 0.6/0.02, 0.45/0.01; position 4 is content.
    p = [[0.3, 0.5, 0.2], [0.15, 0.8, 0.05], [0.02, 0.6, 0.38], [0.01, 0.45, 0.54], [0.9, 0.05, 0.05]]
    p = [[*row, 1e-9] for row in p]
    sampler = rule(process_of("uniform"), order=order, edits=1, margin=0.3, **settings)
    result = refine(Opinionated(p), sampler, [0] * 5)
    assert result.ids[0].tolist() == [1, 1, 1, 2, 0]
    return [int(position) for step in result.trace for position in step.position]


def test_every_order_goes_its_way() -> None:
    assert first_edits("gain") == [3, 2, 1, 0]
    assert first_edits("low_confidence") == [3, 2, 1, 0]
    assert first_edits("left_to_right") == [0, 1, 2, 3]
    # Where the two differ: the least likely token is not the one with most to gain.
    p = [[0.05, 0.06 * 2, 0.83, 1e-9], [0.04, 0.3, 0.33, 0.33]]
    for order, first in (("gain", 0), ("low_confidence", 1)):
        sampler = rule(process_of("uniform"), order=order, edits=1)
        trace = refine(Opinionated(p), sampler, [0, 0]).trace
        assert trace[0].position.tolist() == [first]


def test_the_random_order_is_random_and_the_samples_own() -> None:
    sampler = rule(process_of("uniform"), order="random", edits=1)
    result = refine(Contrary(), sampler, *[[0] * 6] * 30, steps=1)
    first = result.trace[0].position.tolist()
    assert len(set(first)) == 6


def test_replacements_write_what_they_say() -> None:
    p = [[0.01, 0.59, 0.4, 1e-9]]
    process = process_of("mixture")
    number = 400
    for replacement, law in (("argmax", {1: 1.0}), ("sample", {1: 0.59, 2: 0.4})):
        sampler = rule(process, Filters(), replacement=replacement)
        result = refine(Opinionated(p), sampler, *[[0]] * number, steps=1)
        for token, share in law.items():
            assert abs(float((result.ids == token).double().mean()) - share) < 0.08
        known = p[0][int(result.trace[0].new[0])]
        assert float(result.trace[0].confidence[0]) == pytest.approx(known, abs=1e-6)
    sampler = rule(process, replacement="remask")
    assert [step.new.tolist() for step in refine(Opinionated(p), sampler, [0]).trace][:2] == [[K], [1]]


@pytest.mark.parametrize(("threshold", "margin", "edited"), [(0.31, 0.5, True), (0.29, 0.5, False), (0.31, 0.6, False)])
def test_both_conditions_must_hold(threshold: float, margin: float, edited: bool) -> None:
    # p(current) = .3 and ln(.5/.3) = .51.
    sampler = rule(process_of("uniform"), threshold=threshold, margin=margin)
    result = refine(Opinionated([[0.3, 0.5, 0.2, 1e-9]]), sampler, [0])
    assert (result.ids.tolist() == [[1]]) is edited


def test_no_edits_is_filling_alone() -> None:
    process = process_of("mask")
    canvas = lay_out([Template((Hole(8),))] * 3, range(3))
    result = sample(Contrary(), rule(process, edits=0), canvas, steps=100, seed=0)
    assert result.nfe.tolist() == [8] * 3


def test_the_network_is_told_the_clock_but_never_later_than_the_latest_time() -> None:
    head = Opinionated([[0.25] * K] * L)
    canvas = lay_out([Template((Hole(L),))], [0])
    sample(head, rule(process_of("mixture"), latest_time=0.6, threshold=0.1), canvas, steps=8, seed=0)
    assert head.told == sorted(head.told)
    assert head.told[0] < 0.01
    assert head.told[-1] == 0.6
    draft = Opinionated([[0.25] * K] * L)
    refine(draft, rule(process_of("mixture"), latest_time=0.6), TEXT)
    assert set(draft.told) == {0.6}


def test_an_earlier_latest_time_edits_more() -> None:
    """What the noise at that time leaves a token to say for itself is the whole difference."""
    process = process_of("uniform")
    head = oracle(process, near_certain(0.5))
    mild = refine(head, rule(process, latest_time=0.99), *corruptions())
    bold = refine(head, rule(process, latest_time=0.3), *corruptions())
    assert mild.ids.tolist() == corruptions()
    assert bold.ids.tolist() == [TEXT] * len(corruptions())


def test_frozen_tokens_of_a_draft_stay_even_if_wrong() -> None:
    process = process_of("uniform")
    wrong = (TEXT[0] + 1) % K
    canvas = lay_out([Template(((wrong,), Hole(L - 1, (TEXT[1], TEXT[3], TEXT[3]))))], [0])
    result = sample(oracle(process, near_certain(0.999)), rule(process), canvas, steps=8, seed=0)
    assert result.ids.tolist() == [[wrong, *TEXT[1:]]]


def test_remasking_needs_a_mask_token() -> None:
    with pytest.raises(PairingError, match=r"cannot remask under process 'uniform'.*use replacement argmax or sample"):
        rule(process_of("uniform"), replacement="remask")


def test_under_masks_alone_it_only_fills_unless_edits_are_asked_for() -> None:
    """A network that was trained on masks was taught nothing about visible tokens, which it must not rewrite then."""
    process = process_of("mask")
    sampler = AnyPosition(AnyPositionParams(), process, GREEDY)
    ids = torch.tensor([[0, K, 1, K]])
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    draws = Draws(0, 0, torch.zeros_like(ids), torch.zeros_like(ids), torch.arange(4)[None])
    zero = torch.zeros(1, dtype=torch.int64)
    state = State(ids, everywhere, zero.double(), zero, zero + 1, draws, sampler.start(ids, everywhere))
    assert sampler.plan(state).sites.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("key", ["edits", "cooldown", "max_edits", "patience"])
def test_counts_that_no_tensor_holds_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="less than or equal to 2147483647"):
        AnyPositionParams.model_validate({key: 2**63})
    wrong = [(TEXT[0] + 1) % K, *TEXT[1:]]
    process = process_of("uniform")
    largest = {"edits": COUNT, "cooldown": COUNT, "max_edits": COUNT, "patience": COUNT}
    result = refine(oracle(process, near_certain()), rule(process, **largest), wrong)
    assert result.ids[0].tolist() == list(TEXT)
