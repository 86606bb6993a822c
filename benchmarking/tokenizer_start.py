"""From the first import to the first ids, in a fresh interpreter: what a short command waits for.

python -m benchmarking.tokenizer_start LIBRARY FOLDER [compiled]

Prints the seconds. Only the library is imported, and the clock starts before it. "compiled" asks for our compiled path,
whose functions are compiled first, or loaded from Numba's cache; without it a short text takes the reference path.
"""

import time

BEGAN = time.perf_counter()

import base64  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

TEXT = "The first words of a text, it's short: 1234.\n"
RANKS, PATTERN = "ranks.tiktoken", "pattern.txt"


def flowlm(folder: Path, compiled: bool) -> list[int]:
    """Return the ids of a text by our tokenizer."""
    from diffusionlm.tokenizer import BPETokenizer, load_tokenizer

    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, BPETokenizer), type(tokenizer)
    tokenizer.compiled = compiled
    return tokenizer.encode(TEXT)


def tokenizers(folder: Path) -> list[int]:
    """Return the ids of a text by the tokenizers package."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids


def tiktoken(folder: Path) -> list[int]:
    """Return the ids of a text by tiktoken."""
    return open_tiktoken(folder).encode_ordinary(TEXT)


def open_tiktoken(folder: Path) -> Any:
    """Return tiktoken's encoding of a vocabulary, from a file of ranks as it ships them."""
    import tiktoken

    lines = (line.split() for line in (folder / RANKS).read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    pattern = (folder / PATTERN).read_text(encoding="utf-8")
    return tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def main(arguments: list[str]) -> None:
    """Encode once and print the seconds since the process began to import."""
    name, folder, compiled = arguments[0], Path(arguments[1]), "compiled" in arguments[2:]
    ids = (
        flowlm(folder, compiled) if name == "flowlm" else {"tokenizers": tokenizers, "tiktoken": tiktoken}[name](folder)
    )
    seconds = time.perf_counter() - BEGAN
    print(seconds, *ids)


if __name__ == "__main__":
    main(sys.argv[1:])
