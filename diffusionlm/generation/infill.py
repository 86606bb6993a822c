"""Fill the holes of a text: the same loop as a continuation, with given tokens on any side of a hole.

A hole of twelve tokens is written ``<|hole:12|>``. A backslash before the marker makes it plain text, and a pair of
backslashes before it stands for one, so that every text can be written:

    x = <|hole:8|> + 1          a hole of eight tokens
    x = \\<|hole:8|> + 1         the text "x = <|hole:8|> + 1"
    x = \\\\<|hole:8|> + 1        a backslash, then a hole

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
from diffusionlm.process import Process

if TYPE_CHECKING:
    from diffusionlm.model.transformer import Transformer
    from diffusionlm.tokenizer import Tokenizer

MARKER = re.compile(r"(\\*)(<\|hole(?::([^|<>\n]*))?\|>)")
_DIGITS = 18  # a longer number is no hole that anyone means, and Python refuses to read one of thousands of digits

Pieces = tuple[str | Hole, ...]


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
    """

    text: str
    ids: tuple[int, ...]
    holes: tuple[Filled, ...]
    nfe: int
    seconds: float
    tokens_per_second: float


def parse_holes(text: str) -> Pieces:
    """Split a text at its ``<|hole:N|>`` markers.

    Returns:
        Texts and holes in order; no text is empty, and two texts never follow each other.

    Raises:
        ConfigError: A marker's length is not a positive whole number.
    """
    pieces: list[str | Hole] = []
    plain, end = "", 0
    for match in MARKER.finditer(text):
        backslashes, marker, length = match.groups()
        plain += text[end : match.start()] + "\\" * (len(backslashes) // 2)
        end = match.end()
        if len(backslashes) % 2:
            plain += marker
            continue
        if length is None or not (length.isascii() and length.isdigit()) or not length.strip("0"):
            raise ConfigError(
                f"{marker!r} is no hole: write <|hole:12|> for a hole of 12 tokens, or \\{marker} for the plain text"
            )
        if len(length) > _DIGITS:
            raise ConfigError(f"a hole whose length has {len(length)} digits fits no context; shorten it")
        pieces += [plain, Hole(int(length))] if plain else [Hole(int(length))]
        plain = ""
    plain += text[end:]
    return tuple([*pieces, plain] if plain else pieces)


def escape_holes(text: str) -> str:
    """Return the text that ``parse_holes`` reads as exactly ``text``, without a hole."""
    return MARKER.sub(lambda match: "\\" * (2 * len(match.group(1)) + 1) + match.group(2), text)


def infill(
    model: Transformer,
    tokenizer: Tokenizer,
    process: Process,
    texts: Sequence[str | Sequence[str | Hole]],
    params: InfillingParams,
    *,
    first_sample: int = 0,
    observe: Observer | None = None,
) -> list[Infilled]:
    """Fill the holes of every text ``params.samples`` times.

    Args:
        model: The network; its device is where sampling runs.
        tokenizer: The one it was trained with.
        process: The one it was trained with.
        texts: Texts with ``<|hole:N|>`` markers, or pieces (texts and ``Hole``) in which nothing is parsed.
        params: How.
        first_sample: Index of the first sample, for a shard of a longer list of texts.
        observe: Called with every frame.

    Returns:
        Sample j of text i at index i·samples + j.

    Raises:
        ConfigError: A text has no hole, a malformed one, or does not fit the context; or steps are fewer than blocks.
        PairingError: The sampler does not fit the process.
    """
    parsed = [parse_holes(text) if isinstance(text, str) else tuple(text) for text in texts]
    templates = []
    for number, pieces in enumerate(parsed, 1):
        template = Template(
            tuple(piece if isinstance(piece, Hole) else tuple(tokenizer.encode(piece)) for piece in pieces)
            + (((tokenizer.eos_id,),) if params.whole else ())
        )
        check_infill(template, model.params.context_length, f"text {number}")
        templates.append(template)
    repeated = [(pieces, template) for pieces, template in zip(parsed, templates) for _ in range(params.samples)]
    completed = complete(
        model, process, [template for _, template in repeated], params, first_sample=first_sample, observe=observe
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
        text="".join(next(texts) if isinstance(piece, Hole) else piece for piece in pieces),
        ids=completed.ids,
        holes=tuple(holes),
        nfe=completed.nfe,
        seconds=completed.seconds,
        tokens_per_second=sum(len(hole.ids) for hole in holes) / completed.seconds,
    )
