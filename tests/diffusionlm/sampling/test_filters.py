"""Temperature, top-k, top-p and the draw, against straightforward references."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from diffusionlm.sampling import filters
from diffusionlm.sampling.filters import Filters, draw, filter_logits, invert, keep_top_k, keep_top_p

rows = st.lists(st.floats(-8, 8).map(lambda x: round(x, 2)), min_size=1, max_size=12)


def probabilities(logits: list[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    return [w / sum(weights) for w in weights]


def kept(logits: torch.Tensor) -> set[int]:
    return set((logits[0] > -torch.inf).nonzero().flatten().tolist())


@given(rows, st.integers(1, 15))
def test_top_k_keeps_what_a_sort_keeps(row: list[float], k: int) -> None:
    bar = sorted(row, reverse=True)[min(k, len(row)) - 1]
    expected = {i for i, x in enumerate(row) if x >= bar}
    assert kept(keep_top_k(torch.tensor([row], dtype=torch.float64), k)) == expected


@given(rows, st.floats(0.01, 1.0))
def test_top_p_keeps_the_token_that_crosses_p(row: list[float], p: float) -> None:
    expected, total = set(), 0.0
    p_of = probabilities(row)
    for i in sorted(range(len(row)), key=lambda i: (-row[i], i)):
        # Within rounding of the edge either answer is right.
        if abs(total - p) < 1e-9:
            return
        if total >= p:
            break
        expected.add(i)
        total += p_of[i]
    assert kept(keep_top_p(torch.tensor([row], dtype=torch.float64), p)) == expected


def test_filters_apply_in_order() -> None:
    p = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    # Top-k first leaves .4/.9, .3/.9, .2/.9, so that two tokens (.44, .78) reach .75; without it three (.4, .7, .9) do.
    both = filter_logits(p.log(), Filters(top_k=3, top_p=0.75))
    assert kept(both) == {0, 1}
    assert kept(filter_logits(p.log(), Filters(top_p=0.75))) == {0, 1, 2}
    # A temperature of 1/2 squares the probabilities before the nucleus is cut: .16/.3 = .53, .09/.3 = .3.
    assert kept(filter_logits(p.log(), Filters(temperature=0.5, top_p=0.5))) == {0}
    assert kept(filter_logits(p.log(), Filters(temperature=1.0, top_p=0.5))) == {0, 1}


@pytest.mark.parametrize("temperature", [1e-12, 1e300])
def test_extreme_temperatures_have_a_law(temperature: float) -> None:
    logits = torch.tensor([[-2.0, 3.0, 1.0], [-5.0, -7.0, -9.0]])
    law = filter_logits(logits, Filters(temperature=temperature)).softmax(-1)
    expected = torch.eye(3)[[1, 0]] if temperature < 1.0 else torch.full((2, 3), 1 / 3)
    assert torch.allclose(law, expected.double())


def test_no_filter_changes_nothing() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(filter_logits(logits, Filters()), logits)
    assert torch.equal(filter_logits(logits, Filters(top_k=7, top_p=1.0)), logits)


@given(rows, st.floats(1e-12, 1.0))
def test_the_draw_inverts_the_cumulative_distribution(row: list[float], u: float) -> None:
    p_of = probabilities(row)
    drawn = int(invert(torch.tensor([row], dtype=torch.float64), torch.tensor([u], dtype=torch.float64)))
    below, upto = sum(p_of[:drawn]), sum(p_of[: drawn + 1])
    assert below - 1e-12 <= u <= upto + 1e-12


@given(st.integers(0, 2**53 - 1), st.integers(1, 4))
def test_an_excluded_token_is_never_drawn(bits: int, k: int) -> None:
    logits = torch.tensor([[0.0, -1.0, -torch.inf, 2.0, -torch.inf]], dtype=torch.float64)
    u = torch.tensor([(bits + 0.5) * 2.0**-53], dtype=torch.float64)
    filtered = filter_logits(logits, Filters(top_k=k))
    assert int(invert(filtered, u)) in kept(filtered) - {2, 4}
    assert int(invert(filtered, torch.ones(1, dtype=torch.float64))) in kept(filtered) - {2, 4}


@settings(max_examples=20)
@given(st.floats(0.3, 3.0), st.sampled_from([None, 2, 3]), st.sampled_from([None, 0.5, 0.8]))
def test_draws_have_the_filtered_law(temperature: float, top_k: int | None, top_p: float | None) -> None:
    chosen = Filters(temperature=temperature, top_k=top_k, top_p=top_p)
    logits = torch.tensor([[1.0, 0.0, 2.0, 0.5, -1.0]])
    number = 4000
    # An even grid of uniforms gives every token its share to within one part in the number of points.
    u = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    token = draw(logits.expand(number, 5), u, chosen).token
    law = filter_logits(logits, chosen).softmax(-1)[0]
    assert float((torch.bincount(token, minlength=5) / number - law).abs().max()) <= 1.0 / number


def test_confidence_is_of_the_unfiltered_distribution() -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    u = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    drawn = draw(logits, u, Filters(temperature=0.3, top_k=2))
    expected = logits.double().log_softmax(-1).gather(1, drawn.token[:, None])[:, 0]
    assert torch.allclose(drawn.log_probability, expected, atol=1e-12)


def test_temperature_zero_is_argmax_and_ignores_the_uniforms() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [1.0, 0.0, 0.5]])
    for u in (0.01, 0.99):
        drawn = draw(logits, torch.full((2,), u, dtype=torch.float64), Filters(temperature=0.0, top_k=2, top_p=0.3))
        assert drawn.token.tolist() == [1, 0]


def test_half_precision_logits_keep_their_law() -> None:
    """Noise added to fp16 logits overflows; a float64 draw does not."""
    logits = torch.tensor([[12.0, 11.0, -60000.0]], dtype=torch.float16)
    number = 1000
    u = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    token = draw(logits.expand(number, 3), u, Filters(temperature=0.5)).token
    assert torch.bincount(token, minlength=3).tolist() == [881, 119, 0]


def test_chunks_do_not_change_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(50, 13, generator=torch.Generator().manual_seed(2))
    u = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    whole = draw(logits, u, Filters(top_p=0.9))
    monkeypatch.setattr(filters, "CHUNK_ENTRIES", 39)
    parts = draw(logits, u, Filters(top_p=0.9))
    assert torch.equal(whole.token, parts.token)
    assert torch.equal(whole.log_probability, parts.log_probability)


def test_no_rows_is_fine() -> None:
    drawn = draw(torch.empty(0, 5), torch.empty(0, dtype=torch.float64), Filters())
    assert drawn.token.shape == drawn.log_probability.shape == (0,)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_values_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Filters.model_validate(wrong)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999])
def test_a_narrow_nucleus_is_found_without_sorting(spread: float, p: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(40, 1500, dtype=torch.float64, generator=generator) * spread
    logits[20:] = logits[20:].round()  # many ties
    assert torch.equal(keep_top_p(logits, p), filters._keep_top_p_by_sorting(logits, p))


def test_a_standing_token_is_weighed_under_the_filtered_distribution() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 9, dtype=torch.float64, generator=generator) * 2
    standing = torch.tensor([0, 3, 8, 9, 12, -1])
    u = torch.full((6,), 0.4, dtype=torch.float64)
    for how in (Filters(), Filters(temperature=0.5), Filters(top_k=3), Filters(top_p=0.7), Filters(temperature=2.0)):
        drawn = draw(logits, u, how, standing)
        p = filter_logits(logits, how).softmax(-1)
        expected = [float(p[i, k]) if 0 <= k < 9 else 0.0 for i, k in enumerate(standing.tolist())]
        assert drawn.standing.tolist() == pytest.approx(expected)
        assert torch.equal(drawn.token, draw(logits, u, how).token)
    sure = draw(logits, u, Filters(temperature=0.0), logits.argmax(-1))
    assert sure.standing.tolist() == [1.0] * 6


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 9e-13, -1.0, math.nan, math.inf])
def test_a_temperature_that_does_not_divide_is_refused(temperature: float) -> None:
    with pytest.raises(ValidationError):
        Filters(temperature=temperature)


@pytest.mark.parametrize("temperature", [1e-12, 1e300])
def test_the_most_extreme_temperatures_are_laws(temperature: float) -> None:
    """Nearly none: the most likely token; very much: every token alike."""
    logits = torch.tensor([[1e4, -1e4, 3.0]], dtype=torch.float64)
    found = filter_logits(logits, Filters(temperature=temperature)).softmax(1)
    expected = [1.0, 0.0, 0.0] if temperature < 1 else [1 / 3] * 3
    assert found[0].tolist() == pytest.approx(expected)
