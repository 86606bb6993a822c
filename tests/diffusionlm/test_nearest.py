"""What is suggested for a name that nobody knows."""

import pytest

from diffusionlm.nearest import suggestion


@pytest.mark.parametrize(
    ("word", "said"),
    [("stesp", "; did you mean 'steps'?"), ("steps", "; did you mean 'steps'?"), ("zzz", ""), ("", "")],
)
def test_the_nearest_or_nothing(word: str, said: str) -> None:
    assert suggestion(word, ["length", "steps"]) == said


def test_among_none_nothing_is_near() -> None:
    assert suggestion("steps", []) == ""
