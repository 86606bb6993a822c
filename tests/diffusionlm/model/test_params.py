"""Shapes that cannot be are refused; unset ones follow from the others."""

import pytest
from pydantic import ValidationError

from diffusionlm.model.params import TransformerParams


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"width": 30, "heads": 4}, "width 30 is not a multiple of heads 4; change one or set head_width"),
        ({"heads": 4, "kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"width": 12, "heads": 4}, "head width 3 is odd"),
        ({"shift": 2}, "shift"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_shapes(values, said):
    with pytest.raises(ValidationError, match=said):
        TransformerParams.model_validate(values)


def test_what_is_unset_follows():
    params = TransformerParams(width=192, heads=6)
    assert (params.resolved_kv_heads, params.resolved_head_width, params.resolved_hidden) == (6, 32, 512)
    assert TransformerParams(width=192, heads=6, activation="relu2").resolved_hidden == 768
    given = TransformerParams(width=30, heads=4, head_width=10, kv_heads=2, hidden=7)
    assert (given.resolved_kv_heads, given.resolved_head_width, given.resolved_hidden) == (2, 10, 7)
