"""Open a tokenizer folder or a ``tokenizer.json``, whichever kind it holds."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Literal

from diffusionlm.errors import TokenizerError
from diffusionlm.params import Strict
from diffusionlm.paths import UserPath
from diffusionlm.tokenizer import files, tokenizer_json
from diffusionlm.tokenizer.base import Texts, Tokenizer, TokenizerRecipe
from diffusionlm.tokenizer.bpe import BPETokenizer
from diffusionlm.tokenizer.byte import ByteTokenizer
from diffusionlm.tokenizer.package import PackageTokenizer

KINDS = {"bpe": BPETokenizer, "byte": ByteTokenizer}


class FilesParams(Strict):
    """A tokenizer that was trained before, GPT-2's files, or the tokenizer.json of another model."""

    name: Literal["files"] = "files"
    path: UserPath
    """The folder with the tokenizer's files, or a tokenizer.json."""


class FilesRecipe(TokenizerRecipe):
    """Read a folder or a file; the corpus is not looked at."""

    Params = FilesParams

    def __init__(self, params: FilesParams) -> None:
        self.params = params

    def build(self, texts: Texts | None) -> Tokenizer:
        tokenizer = load_tokenizer(self.params.path)
        if isinstance(tokenizer, PackageTokenizer):
            warnings.warn(
                f"{self.params.path} has {tokenizer.file.foreign}, which the fast encoder does not know: "
                "the tokenizers package encodes, more slowly",
                stacklevel=2,
            )
        return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer at ``path``.

    Args:
        path: A folder: what ``Tokenizer.save`` wrote, a tokenizer.json, or GPT-2's vocab.json and merges.txt. Or a
            file in the format of tokenizer.json. Our own encoder takes it where it does exactly what the file says,
            else the ``tokenizers`` package does.

    Raises:
        TokenizerError: The folder or a file is missing, damaged or inconsistent, or its tokens are not bytes.
    """
    folder = Path(path)
    if folder.is_file():
        return _read_json(folder)
    name = files.read_type(folder)
    if name == "json":
        return _read_json(folder / files.JSON)
    if name not in KINDS:
        raise TokenizerError(
            f"{folder / files.TYPE} names an unknown tokenizer {name!r}; known: {', '.join([*KINDS, 'json'])}"
        )
    return KINDS[name].load(folder)


def save_whole(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer's files, all of them or none, unless the folder is there; its parent must be.

    Raises:
        TokenizerError: The files cannot be written.
        OSError: What an earlier process left half-written, or the folder, is in the way.
    """
    if folder.is_dir():
        return
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        tokenizer.save(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_into(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer's files into a folder that is there; each appears whole, and before the last one nothing reads.

    Raises:
        TokenizerError: The files cannot be written.
        OSError: They cannot be put in their places.
    """
    temporary = folder / ".tokenizer.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        tokenizer.save(temporary)
        # The file that says which kind it is comes first: without it a folder passes for GPT-2's files.
        for file in sorted(temporary.iterdir(), key=lambda file: (file.name != files.TYPE, file.name)):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_json(path: Path) -> Tokenizer:
    file = tokenizer_json.read(path)
    return BPETokenizer.read_json(file) if file.foreign is None else PackageTokenizer(file)
