"""Small tokenizers made in process, and GPT-2's where its files are at hand."""

import shutil
from functools import cache
from pathlib import Path

import pytest

from diffusionlm.tokenizer import EOS, BPETokenizer, ByteTokenizer, load_tokenizer, train_bpe

TEXT = (
    "The quick brown fox jumps over the lazy dog; it's said we'll see that they've 1234 years.\n\n"
    "def quick(fox: int) -> int:\n    return fox + 1234  # naïve café, señor\n\tthe end ... the END\r\n"
) * 3


@cache
def small_bpe() -> BPETokenizer:
    """A tokenizer with some merges and specials of which one begins another."""
    return train_bpe([TEXT], 340, [EOS, "<|end", "<|im start|>"])


@cache
def tokenizers() -> dict:
    return {"bpe": small_bpe(), "byte": ByteTokenizer([EOS, "<|end", "<|im start|>"])}


@pytest.fixture(params=["bpe", "byte"])
def tokenizer(request):
    return tokenizers()[request.param]


@cache
def _load(folder: Path):
    return load_tokenizer(folder)


@pytest.fixture
def gpt2_folder(shared_data, tmp_path_factory) -> Path:
    """GPT-2's own files, its special token inside vocab.json."""
    vocab, merges = shared_data("gpt2_vocab.json"), shared_data("gpt2_merges.txt")
    folder = tmp_path_factory.getbasetemp() / "gpt2"
    if not folder.exists():
        folder.mkdir()
        shutil.copy(merges, folder / "merges.txt")
        shutil.copy(vocab, folder / "vocab.json")
    return folder


@pytest.fixture
def gpt2(gpt2_folder) -> BPETokenizer:
    return _load(gpt2_folder)
