"""Canvases: layout, padding and the lengths that do not fit."""

from __future__ import annotations

import pytest

from diffusionlm.errors import ConfigError
from diffusionlm.generation.canvas import Hole, Template, check_ids, check_infill, lay_out, prompt_template


def test_templates_know_their_holes() -> None:
    template = Template(((7, 8), Hole(3), (9,), Hole(1)))
    assert template.length == 7
    assert template.spans() == [(2, 5), (6, 7)]
    assert template.ids() == [7, 8, 0, 0, 0, 9, 0]


def test_a_batch_is_padded_on_the_right() -> None:
    canvas = lay_out([Template(((7, 8), Hole(1))), Template((Hole(5),))], [4, 9])
    assert canvas.ids.tolist() == [[7, 8, 0, 0, 0], [0] * 5]
    assert canvas.editable.tolist() == [[False, False, True, False, False], [True] * 5]
    assert canvas.segments.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert canvas.sample.tolist() == [4, 9]
    assert canvas.layout().segments is not None


def test_a_batch_of_equal_lengths_needs_no_mask() -> None:
    assert lay_out([Template((Hole(2),))] * 3, range(3)).layout().segments is None


def test_an_empty_template_is_a_row_of_padding() -> None:
    canvas = lay_out([Template(()), Template(((1,),))], [0, 1])
    assert canvas.segments.tolist() == [[0], [1]]
    assert not canvas.editable.any()


def test_a_prompt_fills_the_context_unless_told_otherwise() -> None:
    assert prompt_template([1, 2], None, 10).spans() == [(2, 10)]
    assert prompt_template([1, 2], 3, 10).spans() == [(2, 5)]
    assert prompt_template([], 10, 10).spans() == [(0, 10)]


@pytest.mark.parametrize(
    ("prompt", "length", "message"),
    [
        (10, None, "prompt 2 is longer than the context: 10 tokens, and a canvas holds 10, at least one"),
        (11, 1, "shorten it to 9 tokens or fewer"),
        (8, 3, "prompt 2 of 8 tokens and length 3 make 11, more than the context of 10; use a length of at most 2"),
    ],
)
def test_prompts_that_do_not_fit_are_named_in_one_line(prompt: int, length: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        prompt_template([0] * prompt, length, 10, "prompt 2")
    assert "\n" not in str(error.value)


def test_infills_that_do_not_fit_are_named_in_one_line() -> None:
    check_infill(Template(((1,), Hole(9))), 10)
    with pytest.raises(ConfigError, match="text 3 is longer than the context: 11 tokens with its holes"):
        check_infill(Template(((1, 2), Hole(9))), 10, "text 3")
    with pytest.raises(ConfigError, match=r"text has no hole to fill; write <\|hole:12\|>"):
        check_infill(Template(((1, 2),)), 10)


@pytest.mark.parametrize("token", [-1, 5, 6])
def test_ids_outside_the_vocabulary_are_refused(token: int) -> None:
    """Row 5 is the mask token of a vocabulary of five: a prompt must not hold it."""
    check_ids([0, 4], 5)
    with pytest.raises(
        ConfigError, match=rf"prompt holds id {token}, which is not a token of the vocabulary \(0 … 4\)"
    ):
        check_ids([0, token], 5)
