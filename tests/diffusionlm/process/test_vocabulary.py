"""Ids that a process and a model agree on, and the mask ids that are refused."""

import pytest

from diffusionlm.errors import ConfigError
from diffusionlm.process import Vocabulary


def test_the_mask_comes_after_the_tokens():
    assert Vocabulary.after(100) == Vocabulary(size=100, mask_id=100, rows=101)


@pytest.mark.parametrize(
    ("size", "mask_id", "rows", "said"),
    [
        (100, 101, 101, "mask id 101 is outside the model's 101 rows; leave process.mask_id unset"),
        (100, -1, 101, "mask id -1 is outside"),
        (100, 7, 101, r"mask id 7 is a token of the vocabulary \(0 … 99\); leave process.mask_id unset"),
    ],
)
def test_a_wrong_mask_id_is_refused_in_one_line(size, mask_id, rows, said):
    with pytest.raises(ConfigError, match=said) as raised:
        Vocabulary(size=size, mask_id=mask_id, rows=rows)
    assert "\n" not in str(raised.value)


def test_rows_may_be_left_unused():
    assert Vocabulary(size=100, mask_id=120, rows=128).rows == 128
