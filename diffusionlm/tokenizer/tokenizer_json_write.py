"""``tokenizer.json`` written from plain parts: what ``tokenizer_json`` reads and the package ``tokenizers`` loads."""

from __future__ import annotations

from typing import Any

from diffusionlm.tokenizer import alphabet, files
from diffusionlm.tokenizer.pretokenize import PATTERNS
from diffusionlm.tokenizer.tokenizer_json import Vocabulary


def write(vocabulary: Vocabulary) -> str:
    """Return the text of a file from which ``tokenizers.Tokenizer.from_file`` makes the same tokenizer.

    Added tokens are in the vocabulary, too: the package would number them anew otherwise.
    """
    shown = {alphabet.show(token): id for token, id in vocabulary.vocab.items()}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    cut: dict[str, Any] = {**byte_level, "use_regex": True}
    if vocabulary.pattern != "gpt2":
        regex = {"Regex": PATTERNS[vocabulary.pattern]}
        split = {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
        cut = {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}
    names = [(name, id, True) for name, id in vocabulary.specials.items()]
    names += [(name, id, False) for name, id in vocabulary.whole.items()]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": id, "content": name, **flags, "special": special} for name, id, special in names]
    everything = shown | {name: id for name, id, _ in names}
    return files.to_json(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": sorted(added, key=lambda token: token["id"]),
            "normalizer": None if vocabulary.normalizer is None else {"type": vocabulary.normalizer.upper()},
            "pre_tokenizer": cut,
            "post_processor": None,
            "decoder": {**byte_level, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": vocabulary.ignore_merges,
                "vocab": dict(sorted(everything.items(), key=lambda item: item[1])),
                "merges": [f"{alphabet.show(left)} {alphabet.show(right)}" for left, right in vocabulary.merges],
            },
        }
    )
