"""Token ids as text in which nothing is invisible: for people who look at data, not for decoding.

a line break             ⏎ and the break itself
a tab, a carriage return ⇥ and blanks, ␍
other characters that do not print (controls, zero width, direction marks)   ‹U+200B›
a byte that is no UTF-8                                                      ‹\\xff›
a special token          ‹eos› for the one that ends a document, else its name: ‹|pad|›
the mask token           ░
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence

from diffusionlm.tokenizer.base import Tokenizer

MASK = "░"
MARKS = r"[⏎⇥␍]|‹[^‹›\n]+›"
"""A regular expression that finds what stands for something else."""
_CHARACTERS = {"\n": "⏎\n", "\t": "⇥   ", "\r": "␍"}


def visible_tokens(ids: Sequence[int], tokenizer: Tokenizer | None, *, alone: bool = False) -> list[str]:
    """Return what each token shows, one string per id; joined, they are the text.

    Args:
        ids: Ids of the tokenizer; the one after its last is the mask token.
        tokenizer: None: the ids themselves are shown.
        alone: Decode each token by itself, so that a character spread over tokens shows as its bytes. Otherwise it is
            shown whole, by the token that completes it.
    """
    if tokenizer is None:
        return [f"{id} " for id in ids]
    names = {id: _name(id, name, tokenizer) for name, id in tokenizer.specials.items()}
    utf8 = getincrementaldecoder("utf-8")("surrogateescape")
    shown: list[str] = []

    def finish() -> None:
        """Show the bytes of a character that was begun and goes on no further, by the token before."""
        if shown:
            shown[-1] += visible(utf8.decode(b"", final=True))

    for id in ids:
        name = MASK if id >= tokenizer.vocab_size else names.get(id)
        if name is None:
            shown.append(visible(utf8.decode(tokenizer.token_bytes(id), final=alone)))
        else:
            finish()
            shown.append(name)
    finish()
    return shown


def visible(text: str) -> str:
    """Return text with every character that does not print replaced by a sign; lone surrogates are single bytes."""
    return text if text.isprintable() else "".join(map(_character, text))


def _character(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"‹\\x{ord(character) - 0xDC00:02x}›"
    return _CHARACTERS[character] if character in _CHARACTERS else f"‹U+{ord(character):04X}›"


def _name(id: int, name: str, tokenizer: Tokenizer) -> str:
    if id == tokenizer.eos_id:
        return "‹eos›"
    return f"‹{visible(name.removeprefix('<').removesuffix('>'))}›"
