"""Text ↔ ids: a byte-level BPE written from scratch, trained or read from GPT-2's files, and a raw byte tokenizer.

Reading order: base (what a tokenizer is), byte (the simplest one), pretokenize and bpe (encoding), counting, train,
files, load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffusionlm.registry import Registry
from diffusionlm.tokenizer.base import EOS, Texts, Tokenizer, TokenizerRecipe
from diffusionlm.tokenizer.bpe import BPETokenizer
from diffusionlm.tokenizer.byte import ByteParams, ByteRecipe, ByteTokenizer
from diffusionlm.tokenizer.load import FilesParams, FilesRecipe, load_tokenizer, save_into, save_whole
from diffusionlm.tokenizer.train import BPEParams, BPERecipe, train_bpe

if TYPE_CHECKING:
    from diffusionlm.params import Strict

TOKENIZERS: Registry[TokenizerRecipe] = Registry("tokenizer", TokenizerRecipe, globals())


def build_tokenizer(params: Strict, texts: Texts | None = None) -> Tokenizer:
    """Return the tokenizer that ``params`` (one of ``TOKENIZERS``' Params) describes.

    Args:
        params: ``BPEParams``, ``ByteParams`` or ``FilesParams``.
        texts: Opens the training corpus, an iterable of documents; only ``BPEParams`` reads it.

    Raises:
        TokenizerError: Training is impossible, or files are missing or damaged.
    """
    return TOKENIZERS.build(params).build(texts)


__all__ = [
    "EOS",
    "TOKENIZERS",
    "BPEParams",
    "BPERecipe",
    "BPETokenizer",
    "ByteParams",
    "ByteRecipe",
    "ByteTokenizer",
    "FilesParams",
    "FilesRecipe",
    "Tokenizer",
    "TokenizerRecipe",
    "build_tokenizer",
    "load_tokenizer",
    "save_into",
    "save_whole",
    "train_bpe",
]
