"""Training times: stratified over the whole step, one value per document, the same for any slicing."""

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.process import TimesParams, draw_times
from diffusionlm.process.times import time_weight

ONE = torch.ones(64, 5, dtype=torch.int64)
ROWS = torch.arange(64)


def draw(params: TimesParams | None = None, step: int = 0, seed: int = 0, rows=ROWS, segments=ONE) -> torch.Tensor:
    return draw_times(params or TimesParams(), seed, step, rows, 64, segments)


@pytest.mark.parametrize("step", range(5))
def test_one_time_in_each_stratum(step):
    t = draw(TimesParams(epsilon=0.0), step)
    assert t.dtype == torch.float64
    assert bool((t == t[:, :1]).all())
    spacing = t[:, 0].sort().values.diff()
    assert torch.allclose(spacing, torch.full_like(spacing, 1 / 64))


def test_each_time_is_uniform_over_the_steps():
    times = torch.stack([draw(step=step)[:, 0] for step in range(1000)])
    for b in (0, 31, 63):
        counts = torch.histc(times[:, b], bins=10, min=0, max=1)
        assert float(((counts - 100) ** 2 / 100).sum()) < 40  # 9 degrees of freedom


def test_ranks_and_micro_batches_take_slices_of_the_same_times():
    whole = draw(step=3)
    for size in (1, 7, 32):
        parts = [draw(step=3, rows=rows, segments=ONE[: len(rows)]) for rows in ROWS.split(size)]
        assert torch.equal(torch.cat(parts), whole)


def test_documents_of_a_row_have_times_of_their_own():
    segments = torch.tensor([[1, 1, 2, 3, 3, 0]]).expand(64, 6)
    t = draw(TimesParams(epsilon=0.0), segments=segments)
    assert torch.equal(t[:, 0], t[:, 1])
    assert torch.equal(t[:, 3], t[:, 4])
    for a, b in ((0, 2), (0, 3), (2, 3)):
        assert bool((t[:, a] != t[:, b]).all())
    for column in (0, 2, 3):
        spacing = t[:, column].sort().values.diff()
        assert torch.allclose(spacing, torch.full_like(spacing, 1 / 64))


def test_one_time_for_the_whole_step():
    params = TimesParams(per="batch")
    t = draw(params, segments=torch.randint(0, 4, (64, 5)))
    assert len(t.unique()) == 1
    assert torch.equal(t[:3], draw(params, rows=ROWS[:3], segments=ONE[:3]))
    assert len({float(draw(params, step)[0, 0]) for step in range(50)}) == 50


@pytest.mark.parametrize("per", ["document", "batch"])
def test_a_narrower_range(per):
    params = TimesParams(t_range=(0.3, 0.45), per=per)
    times = torch.cat([draw(params, step)[:, 0] for step in range(50)])
    assert 0.3 <= float(times.min()) < 0.31
    assert 0.44 < float(times.max()) < 0.45
    assert not params.whole_range


def test_the_last_sliver_is_clipped():
    times = torch.cat([draw(TimesParams(epsilon=0.01), step)[:, 0] for step in range(100)])
    assert float(times.max()) == 0.99
    assert TimesParams().whole_range


def test_steps_and_seeds_move_the_times():
    assert not torch.equal(draw(step=0), draw(step=1))
    assert not torch.equal(draw(seed=0), draw(seed=1))
    assert torch.equal(draw(step=5, seed=2), draw(step=5, seed=2))


@pytest.mark.parametrize("wrong", [(0.5, 0.5), (0.7, 0.2), (-0.1, 1.0), (0.0, 1.1)])
def test_a_wrong_range_is_refused(wrong):
    with pytest.raises(ValidationError, match="increasing values in"):
        TimesParams(t_range=wrong)


DENSITY = (4.0, 1.0, 0.5, 2.5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.6)])
def test_an_importance_law_has_its_density_and_weights_that_undo_it(low, high):
    params = TimesParams(law="importance", density=DENSITY, t_range=(low, high), epsilon=0.0)
    t = torch.cat([draw(params, step)[:, 0] for step in range(400)])
    shares = torch.histc(t, bins=4, min=low, max=high) / len(t)
    assert shares.tolist() == pytest.approx([x / sum(DENSITY) for x in DENSITY], abs=2e-3)
    weight = time_weight(params, t)
    assert sorted({round(float(w), 9) for w in weight}) == pytest.approx(sorted(2.0 / x for x in DENSITY))
    # Any function keeps its mean: powers of t, and one with a jump inside a bin.
    for power in (0, 1, 2, 5):
        exact = (high ** (power + 1) - low ** (power + 1)) / (power + 1) / (high - low)
        assert float((weight * t**power).mean()) == pytest.approx(exact, rel=1e-2)
    assert float((weight * (t > (low + high) / 2 + 0.01)).mean()) == pytest.approx(0.5 - 0.01 / (high - low), abs=1e-2)


def test_times_of_an_importance_law_stay_stratified():
    params = TimesParams(law="importance", density=DENSITY, epsilon=0.0)
    edges = torch.tensor([0.0, *DENSITY], dtype=torch.float64).cumsum(0) / sum(DENSITY)
    for step in range(5):
        t = draw(params, step)[:, 0]
        index = (t * 4).long()
        unit = edges[index] + (t * 4 - index) * (edges[index + 1] - edges[index])
        spacing = unit.sort().values.diff()
        assert torch.allclose(spacing, torch.full_like(spacing, 1 / 64))


def test_an_even_density_changes_nothing():
    params = TimesParams(law="importance", density=(3.0, 3.0, 3.0))
    assert torch.allclose(draw(params), draw())
    assert torch.allclose(time_weight(params, draw(params)), torch.ones(64, 5, dtype=torch.float64))
    assert torch.equal(time_weight(TimesParams(), draw()), torch.ones(64, 5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"density": (1.0,)}, 'needs law = "importance"'),
        ({"law": "importance"}, "needs a density, or search_every"),
        ({"law": "importance", "density": (1.0, 0.0)}, "greater than 0"),
        ({"search_ranges": ((0.5, 0.2),)}, "search_ranges must be two increasing"),
    ],
)
def test_a_law_that_says_too_little_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        TimesParams(**values)
