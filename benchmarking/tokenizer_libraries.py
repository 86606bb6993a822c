"""The tokenizer libraries that the bench compares, each asked for the same things in its own fastest way.

``rustbpe`` trains only: it reads no vocabulary that it has not trained, so its ids cannot be compared with others.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarking.tokenizer_start import open_tiktoken
from diffusionlm.tokenizer import EOS, load_tokenizer, train_bpe
from diffusionlm.tokenizer.compiled import cores
from diffusionlm.tokenizer.files import JSON
from diffusionlm.tokenizer.pretokenize import GPT2_PATTERN

ONE_THREAD = ("encode", "decode")
"""Tasks that are measured on one thread."""


class Library(ABC):
    """What a library is asked to do."""

    trains = True
    encodes = True

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return which release it is."""

    def train(self, texts: Sequence[str], vocab_size: int) -> set[bytes]:
        """Train a vocabulary of so many ids, ``<|endoftext|>`` included; return its tokens."""
        raise NotImplementedError

    def open(self, folder: Path) -> None:
        """Read the vocabulary in a folder that our tokenizer has saved."""
        raise NotImplementedError

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, one after the other on one thread."""
        raise NotImplementedError

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Any]:
        """Encode texts on all cores; return what the library hands back."""
        raise NotImplementedError

    def decode(self, ids: Sequence[list[int]]) -> list[str]:
        """Return the texts of ids, one after the other on one thread."""
        raise NotImplementedError


class FlowLM(Library):
    """Ours."""

    @classmethod
    def version(cls) -> str:
        return version("flowlm")

    def train(self, texts: Sequence[str], vocab_size: int) -> set[bytes]:
        return set(train_bpe(texts, vocab_size)._vocab)

    def open(self, folder: Path) -> None:
        self.tokenizer = load_tokenizer(folder)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer.encode(text) for text in texts]

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Any]:
        return self.tokenizer.encode_batch(texts)

    def decode(self, ids: Sequence[list[int]]) -> list[str]:
        return self.tokenizer.decode_batch(ids)


class Tokenizers(Library):
    """Hugging Face's, without the offsets that ``encode_batch`` would work out as well."""

    @classmethod
    def version(cls) -> str:
        return version("tokenizers")

    def train(self, texts: Sequence[str], vocab_size: int) -> set[bytes]:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        from diffusionlm.tokenizer.alphabet import read

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return {read(token) for token in tokenizer.get_vocab() if token != EOS}

    def open(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / JSON))
        self.tokenizer.encode_special_tokens = True

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self.encode_batch(texts)]

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Any]:
        return self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)

    def decode(self, ids: Sequence[list[int]]) -> list[str]:
        return self.tokenizer.decode_batch(ids, skip_special_tokens=False)


class Tiktoken(Library):
    """OpenAI's; it has no trainer."""

    trains = False

    @classmethod
    def version(cls) -> str:
        return version("tiktoken")

    def open(self, folder: Path) -> None:
        self.encoding = open_tiktoken(folder)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encoding.encode_ordinary(text) for text in texts]

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Any]:
        return self.encoding.encode_ordinary_batch(list(texts), num_threads=cores())

    def decode(self, ids: Sequence[list[int]]) -> list[str]:
        return [self.encoding.decode(one) for one in ids]


class RustBPE(Library):
    """The trainer beside nanochat."""

    encodes = False

    @classmethod
    def version(cls) -> str:
        return version("rustbpe")

    def train(self, texts: Sequence[str], vocab_size: int) -> set[bytes]:
        import rustbpe

        tokenizer = rustbpe.Tokenizer()  # type: ignore[attr-defined]
        tokenizer.train_from_iterator(iter(texts), vocab_size - 1, pattern=GPT2_PATTERN)
        return {bytes(token) for token, _ in tokenizer.get_mergeable_ranks()}


LIBRARIES: dict[str, type[Library]] = {
    "flowlm": FlowLM,
    "tokenizers": Tokenizers,
    "tiktoken": Tiktoken,
    "rustbpe": RustBPE,
}


def installed(name: str) -> bool:
    """Return whether a rival's package is installed."""
    return find_spec(name) is not None


def open_library(name: str, folder: Path) -> Library:
    """Return a library that has read the vocabulary in a folder."""
    library = LIBRARIES[name]()
    library.open(folder)
    return library


def one_thread() -> None:
    """Keep the pools of this process to one thread; called before a library is used."""
    os.environ["RAYON_NUM_THREADS"] = "1"


SIZES, TEXTS = "sizes.json", "texts.bin"


def write_texts(folder: Path, texts: Sequence[str]) -> None:
    """Write texts so that each process of the bench can read them without a second copy."""
    data = [text.encode() for text in texts]
    (folder / SIZES).write_text(json.dumps([len(one) for one in data]), encoding="ascii")
    with (folder / TEXTS).open("wb") as file:
        file.writelines(data)


def read_texts(folder: Path) -> list[str]:
    """Return what ``write_texts`` wrote."""
    sizes = json.loads((folder / SIZES).read_text(encoding="ascii"))
    with (folder / TEXTS).open("rb") as file:
        return [file.read(size).decode() for size in sizes]
