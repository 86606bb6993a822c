"""Open a tokenizer folder, whichever kind it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from diffusionlm.errors import TokenizerError
from diffusionlm.params import Strict
from diffusionlm.tokenizer import files
from diffusionlm.tokenizer.base import Texts, Tokenizer, TokenizerRecipe
from diffusionlm.tokenizer.bpe import BPETokenizer
from diffusionlm.tokenizer.byte import ByteTokenizer

KINDS = {"bpe": BPETokenizer, "byte": ByteTokenizer}


class FilesParams(Strict):
    """A tokenizer that was trained before, or GPT-2's files."""

    name: Literal["files"] = "files"
    path: Path
    """The folder with vocab.json, merges.txt and, if there is one, special_tokens.json."""


class FilesRecipe(TokenizerRecipe):
    """Read a folder; the corpus is not looked at."""

    Params = FilesParams

    def __init__(self, params: FilesParams) -> None:
        self.params = params

    def build(self, texts: Texts | None) -> Tokenizer:
        return load_tokenizer(self.params.path)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in ``folder``: what ``Tokenizer.save`` wrote, or GPT-2's vocab.json and merges.txt.

    Raises:
        TokenizerError: The folder or a file is missing, damaged or inconsistent.
    """
    name = files.read_type(folder)
    if name not in KINDS:
        raise TokenizerError(
            f"{Path(folder) / files.TYPE} names an unknown tokenizer {name!r}; known: {', '.join(KINDS)}"
        )
    return KINDS[name].load(Path(folder))
