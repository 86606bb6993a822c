"""Files that the package encodes: every id is its own, nothing is lost, and one line says why it is needed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import tokenizers

from diffusionlm.data.encode import encode_documents
from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import FilesParams, build_tokenizer, load_tokenizer
from diffusionlm.tokenizer import package as module
from diffusionlm.tokenizer.package import PackageTokenizer
from tests.diffusionlm.tokenizer.conftest import TEXT
from tests.diffusionlm.tokenizer.families import added, change, family, split, write

OTHER = r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+"
FOREIGN = [
    ("pre_tokenizer", split(OTHER), "the pattern"),
    ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}, "add_prefix_space"),
    (
        "pre_tokenizer",
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "no pattern that cuts words",
    ),
    ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "NFC"}]}, "Lowercase, NFC"),
    ("normalizer", {"type": "NFC"}, "looked for in the normalized text"),
    ("model.unk_token", "<|endoftext|>", "the unknown token"),
    ("model.byte_fallback", True, "byte_fallback"),
    ("added_tokens.0.lstrip", True, "takes in what is beside it"),
    ("added_tokens.0.single_word", True, "takes in what is beside it"),
]
TEXTS = [TEXT, "", "Ünïcödé e\u0301 你好", "a <|endoftext|>  b<|endoftext|>", "THE fox1234\n\n 's"]


@pytest.mark.parametrize(("place", "value", "why"), FOREIGN)
def test_the_ids_are_the_packages(place, value, why, tmp_path: Path) -> None:
    path = write(tmp_path / "some.json", change(family("gpt2"), place, value))
    with pytest.warns(UserWarning, match=f"{why}.*: the tokenizers package encodes") as told:
        tokenizer = build_tokenizer(FilesParams(path=path))
    assert len(told) == 1
    assert isinstance(tokenizer, PackageTokenizer)
    package = tokenizers.Tokenizer.from_file(str(path))
    for text in TEXTS:
        for allow in (False, True):
            package.encode_special_tokens = not allow
            expected = package.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, allow_special=allow) == expected
            assert list(tokenizer.encode_iterable([text[:7], text[7:]], allow_special=allow)) == expected
            assert tokenizer.decode(expected) == package.decode(expected, skip_special_tokens=False)


def test_bytes_that_are_not_text_come_back(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write(tmp_path / "some.json", change(family("gpt2"), "pre_tokenizer", split(OTHER))))
    data = b"a b\xff\xfe c" + bytes(range(256))
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


def test_added_tokens_that_are_ordinary_text(tmp_path: Path) -> None:
    """GPT-NeoX's runs of spaces: always found, kept when special tokens are left out, and part of a text's bytes."""
    content = family("gpt2")
    size = content["added_tokens"][0]["id"] + 1
    content["added_tokens"].append(added(size, "      ", special=False, normalized=True))
    content["normalizer"] = {"type": "NFC"}
    path = write(tmp_path / "some.json", content)
    tokenizer = load_tokenizer(path)
    assert isinstance(tokenizer, PackageTokenizer)
    ids = tokenizer.encode("a      b")
    assert size in ids
    assert tokenizer.decode(ids, skip_special=True) == "a      b"
    assert int(tokenizer.byte_lengths()[ids].sum()) == 8


def test_saved_pickled_and_in_other_processes(tmp_path: Path) -> None:
    path = write(tmp_path / "some.json", change(family("qwen3"), "pre_tokenizer", split(OTHER)))
    tokenizer = load_tokenizer(path)
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert isinstance(again, PackageTokenizer)
    assert again.fingerprint() == tokenizer.fingerprint() != load_tokenizer_of(tmp_path, "qwen3").fingerprint()
    assert pickle.loads(pickle.dumps(tokenizer)).encode(TEXT) == again.encode(TEXT) == tokenizer.encode(TEXT)
    assert not tokenizer.releases_lock
    (part,) = encode_documents([TEXT.encode(), b"x"], tokenizer)
    assert part.tokens.tolist() == [*tokenizer.encode(TEXT), tokenizer.eos_id, *tokenizer.encode("x"), tokenizer.eos_id]


def load_tokenizer_of(folder: Path, name: str):
    return load_tokenizer(write(folder / "other.json", family(name)))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    path = write(tmp_path / "some.json", change(family("gpt2"), "model.byte_fallback", True))
    with pytest.raises(TokenizerError, match=r"has byte_fallback, which needs the tokenizers package.*install") as told:
        load_tokenizer(path)
    assert "\n" not in str(told.value)
    assert load_tokenizer_of(tmp_path, "qwen3").encode("x")  # our own encoder needs no package


def test_what_the_package_itself_refuses(tmp_path: Path) -> None:
    path = write(tmp_path / "some.json", change(family("gpt2"), "pre_tokenizer", split("[")))
    with pytest.raises(TokenizerError, match="the tokenizers package does not read") as told:
        load_tokenizer(path)
    assert "\n" not in str(told.value)
