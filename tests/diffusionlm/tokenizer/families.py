"""Small stand-ins for the files of three families: their layout, their patterns, some hundred tokens."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from diffusionlm.tokenizer import alphabet, train_bpe
from tests.diffusionlm.tokenizer.conftest import TEXT

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace("{1,3}", "")
PLAIN = {"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": ""}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
UNMERGED = [" zebra", " incomprehensibilities", "é" * 20, "q" * 300, " the end"]
"""Tokens that no merges make. Only a vocabulary that ignores merges uses them; the last one is two words to every
pattern, and never a token."""


@cache
def merges() -> list[tuple[bytes, bytes]]:
    return train_bpe([TEXT, TEXT.upper(), "été naïve 你好世界 12345 " * 4], 450, compiled=False).merges


def added(id: int, content: str, **flags: bool) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id, "content": content, **plain, **flags}


def split(regex: str) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [cut, {**BYTE_LEVEL, "use_regex": False}]}


def family(name: str) -> dict[str, Any]:
    """Return the content of a file as the family writes it: gpt2, llama3 or qwen3."""
    pairs = [(alphabet.show(left), alphabet.show(right)) for left, right in merges()]
    vocab = {alphabet.show(bytes([byte])): id for id, byte in enumerate(alphabet.byte_order())}
    for left, right in pairs:
        vocab.setdefault(left + right, len(vocab))
    if name == "llama3":
        for token in UNMERGED:
            vocab[alphabet.show(token.encode())] = len(vocab)
    size = len(vocab)
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "normalizer": None,
        "post_processor": {**BYTE_LEVEL, "add_prefix_space": True},
        "decoder": {**BYTE_LEVEL, "add_prefix_space": True},
        "model": {"type": "BPE", **PLAIN, "fuse_unk": False, "vocab": vocab},
    }
    if name == "gpt2":
        vocab["<|endoftext|>"] = size
        content["added_tokens"] = [added(size, "<|endoftext|>", normalized=True)]
        content["pre_tokenizer"] = BYTE_LEVEL
        content["model"]["merges"] = [" ".join(pair) for pair in pairs]
    elif name == "llama3":
        names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
        content["added_tokens"] = [added(size + i, name) for i, name in enumerate(names)]
        content["pre_tokenizer"] = split(LLAMA3)
        content["model"] |= {"merges": pairs, "ignore_merges": True, "byte_fallback": False}
    else:
        names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        content["added_tokens"] = [added(size + i, name) for i, name in enumerate(names)]
        content["added_tokens"] += [
            added(size + 3 + i, name, special=False) for i, name in enumerate(["<think>", "</think>"])
        ]
        content["normalizer"] = {"type": "NFC"}
        content["pre_tokenizer"] = split(QWEN)
        content["model"] |= {"merges": pairs, "ignore_merges": False, "byte_fallback": False}
    return content


def change(content: dict, place: str, value: object) -> dict:
    """Return a copy with another value at a place, as in "added_tokens.0.id"."""
    content = copy.deepcopy(content)
    *path, last = place.split(".")
    inner = content
    for key in path:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[last] = value
    return content


FAMILIES = ("gpt2", "llama3", "qwen3")


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path
