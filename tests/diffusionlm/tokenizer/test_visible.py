"""Every token shows something that a person can tell from every other thing, and a text shows as itself."""

import re

import pytest

from diffusionlm.tokenizer import ByteTokenizer
from diffusionlm.tokenizer.visible import MARKS, visible, visible_tokens

BYTES = ByteTokenizer()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – 漢字", "plain – 漢字"),
        ("a\nb", "a⏎\nb"),
        ("a\tb\r\n", "a⇥   b␍⏎\n"),
        ("\x1b[31m\x00", "‹U+001B›[31m‹U+0000›"),
        ("\u202e\u200b\xa0", "‹U+202E›‹U+200B›‹U+00A0›"),
        ("\udcff", "‹\\xff›"),
    ],
)
def test_what_does_not_print_shows(text, shown):
    assert visible(text) == shown
    assert shown.isprintable() or "\n" in shown
    assert bool(re.search(MARKS, shown)) == (text != shown)


def test_a_character_is_shown_whole_by_the_token_that_completes_it():
    assert visible_tokens(BYTES.encode("é!"), BYTES) == ["", "é", "!"]
    assert visible_tokens(BYTES.encode("é!"), BYTES, alone=True) == ["‹\\xc3›", "‹\\xa9›", "!"]


def test_specials_and_masks_break_a_character():
    first, second = BYTES.encode("é")
    assert visible_tokens([first, BYTES.vocab_size, second, BYTES.eos_id], BYTES) == [
        "‹\\xc3›",
        "░",
        "‹\\xa9›",
        "‹eos›",
    ]
    assert visible_tokens([65, first], BYTES) == ["A", "‹\\xc3›"]


def test_without_a_tokenizer_ids_show():
    assert visible_tokens([3, 70_000], None) == ["3 ", "70000 "]
