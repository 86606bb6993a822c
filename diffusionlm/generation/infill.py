"""Fill the holes of a text: the same loop as a continuation, with given tokens on any side of a hole.

A hole of twelve tokens is written ``<|hole:12|>``. A backslash before the marker makes it plain text, and a pair of
backslashes before it stands for one, so that every text can be written:

    x = <|hole:8|> + 1          a hole of eight tokens
    x = \\<|hole:8|> + 1         the text "x = <|hole:8|> + 1"
    x = \\\\<|hole:8|> + 1        a backslash, then a hole

A text that is there already and may be edited is written between markers of its own, which are escaped alike; a sampler
that can start from a draft (``any_position``) repairs it, and gives it back with as many tokens as it had:

    def add(a, b):<|draft|> return a - b<|/draft|>

What surrounds a hole is given back unchanged, as text and as ids. Nothing is trimmed: a hole has the length that was
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffusionlm.errors import ConfigError
from diffusionlm.generation.batches import Completed, complete
from diffusionlm.generation.canvas import Hole, Template, check_infill
from diffusionlm.generation.loop import Observer
from diffusionlm.generation.params import InfillingParams
from diffusionlm.generation.trace import Trace
from diffusionlm.process import Process

if TYPE_CHECKING:
    from diffusionlm.model.transformer import Transformer
    from diffusionlm.tokenizer import Tokenizer

MARKER = re.compile(r"(\\*)(<\|hole(?::([^|<>\n]*))?\|>|<\|draft\|>|<\|/draft\|>)")
OPEN, CLOSE = "<|draft|>", "<|/draft|>"
_DIGITS = 18  # a longer number is no hole that anyone means, and Python refuses to read one of thousands of digits


@dataclass(frozen=True)
class Draft:
    """A text that stands in its hole to begin with and may be edited."""

    text: str


Pieces = tuple[str | Hole | Draft, ...]


@dataclass(frozen=True)
class Filled:
    """What was written into one hole.

    Attributes:
        start: Its first position in the canvas.
        ids: Its tokens.
        text: Their text, special tokens left out.
    """

    start: int
    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Infilled:
    """One filled text.

    Attributes:
        text: The whole text; what was given is unchanged.
        ids: All tokens of the canvas.
        holes: What was written where, in order.
        nfe: Network evaluations that it took.
        seconds: Wall time of the batch that it was in.
        tokens_per_second: Its own generated tokens over ``seconds``.
        trace: Every change, if asked for.
    """

    text: str
    ids: tuple[int, ...]
    holes: tuple[Filled, ...]
    nfe: int
    seconds: float
    tokens_per_second: float
    trace: Trace | None = None


def parse_holes(text: str) -> Pieces:
    """Split a text at its ``<|hole:N|>`` and ``<|draft|>…<|/draft|>`` markers.

    Returns:
        Texts, holes and drafts in order; no text is empty, and two texts never follow each other.

    Raises:
        ConfigError: A marker's length is not a positive whole number; or a draft is empty, not closed, not opened, or
            holds another marker.
    """
    pieces: list[str | Hole | Draft] = []
    plain, end, drafting = "", 0, False
    for match in MARKER.finditer(text):
        backslashes, marker, length = match.groups()
        plain += text[end : match.start()] + "\\" * (len(backslashes) // 2)
        end = match.end()
        if len(backslashes) % 2:
            plain += marker
            continue
        if drafting != (marker == CLOSE) or (drafting and not plain):
            raise ConfigError(
                f"{marker!r} is out of place: write {OPEN}some text{CLOSE}, without other markers inside, "
                f"or \\{marker} for the plain text"
            )
        if plain:
            pieces.append(Draft(plain) if drafting else plain)
        drafting = marker == OPEN
        if marker not in (OPEN, CLOSE):
            pieces.append(_hole(marker, length))
        plain = ""
    if drafting:
        raise ConfigError(f"a draft is not closed; write {CLOSE} at its end, or \\{OPEN} for the plain text")
    plain += text[end:]
    return tuple([*pieces, plain] if plain else pieces)


def _hole(marker: str, length: str | None) -> Hole:
    if length is None or not (length.isascii() and length.isdigit()) or not length.strip("0"):
        raise ConfigError(
            f"{marker!r} is no hole: write <|hole:12|> for a hole of 12 tokens, or \\{marker} for the plain text"
        )
    if len(length) > _DIGITS:
        raise ConfigError(f"a hole whose length has {len(length)} digits fits no context; shorten it")
    return Hole(int(length))


def template_of(pieces: Sequence[str | Hole | Draft], tokenizer: Tokenizer, whole: bool = False) -> Template:
    """Return the canvas of a text in pieces; ``whole`` puts the end-of-text token after it."""
    encoded: list[tuple[int, ...] | Hole] = []
    for piece in pieces:
        if isinstance(piece, Draft):
            ids = tuple(tokenizer.encode(piece.text))
            encoded.append(Hole(len(ids), ids))
        else:
            encoded.append(piece if isinstance(piece, Hole) else tuple(tokenizer.encode(piece)))
    return Template((*encoded, (tokenizer.eos_id,)) if whole else tuple(encoded))


def escape_holes(text: str) -> str:
    """Return the text that ``parse_holes`` reads as exactly ``text``, without a hole."""
    return MARKER.sub(lambda match: "\\" * (2 * len(match.group(1)) + 1) + match.group(2), text)


def infill(
    model: Transformer,
    tokenizer: Tokenizer,
    process: Process,
    texts: Sequence[str | Sequence[str | Hole | Draft]],
    params: InfillingParams,
    *,
    first_sample: int = 0,
    trace: bool = False,
    observe: Observer | None = None,
) -> list[Infilled]:
    """Fill the holes of every text ``params.samples`` times.

    Args:
        model: The network; its device is where sampling runs.
        tokenizer: The one it was trained with.
        process: The one it was trained with.
        texts: Texts with ``<|hole:N|>`` and ``<|draft|>…<|/draft|>`` markers, or pieces (texts, ``Hole``, ``Draft``)
            in which nothing is parsed.
        params: How.
        first_sample: Index of the first sample, for a shard of a longer list of texts.
        trace: Record every change.
        observe: Called with every frame.

    Returns:
        Sample j of text i at index i·samples + j.

    Raises:
        ConfigError: A text has no hole, a malformed one, or does not fit the context; or steps are fewer than blocks.
        PairingError: The sampler does not fit the process, or cannot start from a draft.
    """
    parsed = [parse_holes(text) if isinstance(text, str) else tuple(text) for text in texts]
    templates = []
    for number, pieces in enumerate(parsed, 1):
        template = template_of(pieces, tokenizer, params.whole)
        check_infill(template, model.params.context_length, f"text {number}")
        templates.append(template)
    repeated = [(pieces, template) for pieces, template in zip(parsed, templates) for _ in range(params.samples)]
    completed = complete(
        model,
        process,
        [template for _, template in repeated],
        params,
        first_sample=first_sample,
        trace=trace,
        observe=observe,
    )
    return [_finish(done, pieces, template, tokenizer) for done, (pieces, template) in zip(completed, repeated)]


def _finish(completed: Completed, pieces: Pieces, template: Template, tokenizer: Tokenizer) -> Infilled:
    """Put the holes' text between the given pieces, which are not decoded but kept."""
    assert max(completed.ids) < tokenizer.vocab_size, (
        f"id {max(completed.ids)} of {tokenizer.vocab_size}: noise is left"
    )
    holes = []
    for start, end in template.spans():
        ids = completed.ids[start:end]
        holes.append(Filled(start, ids, tokenizer.decode(list(ids), skip_special=True)))
    texts = iter([hole.text for hole in holes])
    return Infilled(
        text="".join(piece if isinstance(piece, str) else next(texts) for piece in pieces),
        ids=completed.ids,
        holes=tuple(holes),
        nfe=completed.nfe,
        seconds=completed.seconds,
        tokens_per_second=sum(len(hole.ids) for hole in holes) / completed.seconds,
        trace=completed.trace,
    )
