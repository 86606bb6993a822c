"""Filling holes: the markers, and what surrounds the holes."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusionlm.errors import ConfigError, PairingError
from diffusionlm.generation import Draft, Hole, Infilled, InfillingParams, infill, parse_holes
from diffusionlm.generation.infill import escape_holes
from diffusionlm.model.transformer import Transformer
from diffusionlm.sampling import AnyPosition
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.generation.scripted import ScriptedNetwork, mask_process, small_model

TOKENIZER = ByteTokenizer()
K, EOS = TOKENIZER.vocab_size, TOKENIZER.eos_id
PROCESS = mask_process(K)
pieces_of_text = st.lists(
    st.sampled_from(["\\", "<|hole:3|>", "<|hole|>", "<|hole:x|>", "<", "|>", "é", "a", "\n", "<|endoftext|>"]),
    max_size=8,
)


def params(**values: Any) -> InfillingParams:
    return InfillingParams.model_validate(values)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("<|hole:12|>", (Hole(12),)),
        ("a<|hole:2|>b<|hole:3|>", ("a", Hole(2), "b", Hole(3))),
        ("<|hole:1|><|hole:2|>", (Hole(1), Hole(2))),
        (r"a\<|hole:2|>b", ("a<|hole:2|>b",)),
        (r"a\\<|hole:2|>b", ("a\\", Hole(2), "b")),
        (r"a\\\<|hole:2|>b", ("a\\<|hole:2|>b",)),
        (r"\n and C:\dir stay", (r"\n and C:\dir stay",)),
        (r"\<|hole|>", ("<|hole|>",)),
        ("a < b |> c <hole:3>", ("a < b |> c <hole:3>",)),
    ],
)
def test_markers(text: str, pieces: tuple[str | Hole, ...]) -> None:
    assert parse_holes(text) == pieces


@pytest.mark.parametrize("marker", ["<|hole|>", "<|hole:|>", "<|hole:0|>", "<|hole:-3|>", "<|hole:two|>", "<|hole:²|>"])
def test_a_malformed_marker_is_an_error(marker: str) -> None:
    with pytest.raises(ConfigError, match=r"is no hole: write <\|hole:12\|> for a hole of 12 tokens, or \\<\|hole"):
        parse_holes(f"before {marker} after")


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_hole_of_more_digits_than_python_reads(digits: int) -> None:
    with pytest.raises(ConfigError, match=f"has {digits} digits fits no context"):
        parse_holes(f"<|hole:{'9' * digits}|>")


@given(pieces_of_text.map("".join))
def test_every_text_can_be_escaped(text: str) -> None:
    assert parse_holes(escape_holes(text)) == ((text,) if text else ())


@given(pieces_of_text.map("".join), pieces_of_text.map("".join), st.integers(1, 99))
def test_a_hole_between_any_two_texts(before: str, after: str, length: int) -> None:
    # A text that ends in backslashes right before a marker doubles them.
    tail = len(before) - len(before.rstrip("\\"))
    parsed = parse_holes(escape_holes(before) + "\\" * tail + f"<|hole:{length}|>" + escape_holes(after))
    assert parsed == tuple(piece for piece in (before, Hole(length), after) if piece)


def scripted(target: str, texts: list[Any], **values: Any) -> list[Infilled]:
    network = ScriptedNetwork([*TOKENIZER.encode(target), *[EOS] * 64], K)
    return infill(network, TOKENIZER, PROCESS, texts, params(**values))  # type: ignore[arg-type]


def test_holes_are_filled_in_place() -> None:
    [result] = scripted("def f(x): return x", ["def <|hole:4|>: ret<|hole:5|>"])
    assert result.text == "def f(x): return x"
    assert [(hole.start, hole.text) for hole in result.holes] == [(4, "f(x)"), (13, "urn x")]
    assert bytes(result.ids).decode() == result.text


def test_pieces_are_taken_as_they_are() -> None:
    [result] = scripted("<|hole:3|>!", [["<|hole:3|>", Hole(1)]])
    assert result.text == "<|hole:3|>!"


def test_nothing_is_trimmed() -> None:
    network = ScriptedNetwork([65, EOS, 66, EOS, 67], K)
    [result] = infill(network, TOKENIZER, PROCESS, ["<|hole:4|>C"], params())  # type: ignore[arg-type]
    assert result.ids == (65, EOS, 66, EOS, 67)
    assert result.text == "ABC"


def test_a_whole_document_ends_where_it_ends() -> None:
    [result] = scripted("abc", ["a<|hole:2|>"], whole=True)
    assert result.ids == (*b"abc", EOS)
    assert result.text == "abc"
    assert scripted("abc", ["a<|hole:2|>"])[0].ids == tuple(b"abc")


@pytest.mark.parametrize("sampler", ["ancestral", "confidence"])
@pytest.mark.parametrize("block_length", [None, 3])
def test_what_surrounds_a_hole_comes_back_to_the_bit(sampler: str, block_length: int | None) -> None:
    """With a real network, several holes, mixed lengths, and any batch size."""
    texts = ["né(<|hole:5|>)\n\t# ∑ <|hole:2|> end", "<|hole:3|>tail", "head<|hole:7|>"]
    runs = []
    for batch_size in (1, 8):
        values = params(sampler={"name": sampler}, block_length=block_length, steps=6, batch_size=batch_size, samples=3)
        runs.append(infill(small_model(K), TOKENIZER, PROCESS, texts, values))
    assert [r.ids for r in runs[0]] == [r.ids for r in runs[1]]
    for number, result in enumerate(runs[0]):
        pieces, at = parse_holes(texts[number // 3]), 0
        holes = iter(result.holes)
        expected = ""
        for piece in pieces:
            if isinstance(piece, Hole):
                hole = next(holes)
                assert (hole.start, len(hole.ids)) == (at, piece.length)
                assert hole.ids == result.ids[at : at + piece.length]
                expected, at = expected + hole.text, at + piece.length
            else:
                given_ids = TOKENIZER.encode(piece)
                assert list(result.ids[at : at + len(given_ids)]) == given_ids
                expected, at = expected + piece, at + len(given_ids)
        assert result.text == expected
        assert at == len(result.ids)


def test_mistakes_are_told_in_one_line() -> None:
    for texts, message in (
        (["ok<|hole:1|>", "none"], "text 2 has no hole to fill"),
        (["x" * 60 + "<|hole:5|>"], "text 1 is longer than the context: 65 tokens with its holes"),
        (["<|hole:0|>"], "is no hole"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            scripted("", texts)
        assert "\n" not in str(error.value)
    assert len(scripted("", ["x" * 60 + "<|hole:4|>"])[0].ids) == 64
    with pytest.raises(ConfigError, match="longer than the context"):
        scripted("", ["x" * 60 + "<|hole:4|>"], whole=True)


def test_drafts_are_pieces_of_their_own() -> None:
    parsed = parse_holes("a<|draft|>b c<|/draft|><|hole:2|>d")
    assert parsed == ("a", Draft("b c"), Hole(2), "d")
    assert parse_holes("\\<|draft|>x\\<|/draft|>") == ("<|draft|>x<|/draft|>",)
    assert parse_holes("<|draft|>x \\<|hole:3|><|/draft|>") == (Draft("x <|hole:3|>"),)


@pytest.mark.parametrize(
    "text", ["<|draft|><|/draft|>", "a<|/draft|>", "<|draft|>a<|draft|>b<|/draft|>", "<|draft|>a<|hole:2|><|/draft|>"]
)
def test_a_draft_marker_out_of_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is out of place: write <\|draft\|>some text<\|/draft\|>"):
        parse_holes(text)


def test_a_draft_that_is_not_closed_is_refused() -> None:
    with pytest.raises(ConfigError, match="a draft is not closed; write"):
        parse_holes("a<|draft|>b")


def test_a_draft_is_edited_in_place_and_traced() -> None:
    good, bad = "return a + b", "return a - b"
    model = cast(Transformer, ScriptedNetwork(list(f"f(): {good};".encode()), K))
    text = f"f(): <|draft|>{bad}<|/draft|>;"
    how = InfillingParams(sampler=AnyPosition.Params(edits=2), steps=8, temperature=0.0)
    made = infill(model, TOKENIZER, PROCESS, [text], how, trace=True)[0]
    assert made.text == f"f(): {good};"
    assert [hole.text for hole in made.holes] == [good]
    assert made.nfe == 2
    assert made.trace is not None
    assert [(c.step, c.position, chr(c.old), chr(c.new)) for c in made.trace.changes] == [(0, 14, "-", "+")]
    assert made.trace.replay() == list(made.ids)
    with pytest.raises(PairingError, match=r"sampler 'ancestral' starts from noise and cannot .*: any_position"):
        infill(model, TOKENIZER, PROCESS, [text], InfillingParams())
    with pytest.raises(PairingError, match=r"edits no draft under process 'mask'.*; set its edits to a number"):
        infill(model, TOKENIZER, PROCESS, [text], InfillingParams(sampler=AnyPosition.Params()))
