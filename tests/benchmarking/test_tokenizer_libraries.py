"""The libraries do the same thing: the same ids of one vocabulary, the same texts, trained vocabularies of one size."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from benchmarking.tokenizer_libraries import LIBRARIES, installed, open_library, read_texts, write_texts
from benchmarking.tokenizer_start import PATTERN, RANKS
from diffusionlm.tokenizer import train_bpe
from diffusionlm.tokenizer.pretokenize import GPT2_PATTERN
from tests.diffusionlm.tokenizer.conftest import TEXT

TEXTS = [TEXT, "", "été <|endoftext|> 你好\r\n"]


def library(name: str):
    if name != "flowlm":
        pytest.importorskip(name)
    return LIBRARIES[name]


@pytest.mark.parametrize("name", [name for name, kind in LIBRARIES.items() if kind.encodes])
def test_ids_and_texts(name: str, tmp_path: Path) -> None:
    library(name)
    ours = train_bpe([TEXT], 320)
    ours.save(tmp_path)
    ranks = sorted(ours._vocab.items(), key=lambda item: item[1])
    (tmp_path / RANKS).write_bytes(b"\n".join(base64.b64encode(token) + b" %d" % id for token, id in ranks))
    (tmp_path / PATTERN).write_text(GPT2_PATTERN, encoding="utf-8")
    opened = open_library(name, tmp_path)
    ids = [ours.encode(text) for text in TEXTS]
    assert opened.encode(TEXTS) == ids
    batch = opened.encode_batch(TEXTS)
    assert [one if isinstance(one, list) else one.ids for one in batch] == ids
    assert opened.decode(ids) == TEXTS


@pytest.mark.parametrize("name", [name for name, kind in LIBRARIES.items() if kind.trains])
def test_trained_vocabularies_are_of_the_size_asked_for(name: str) -> None:
    tokens = library(name)().train([TEXT, TEXT], 300)
    assert len(tokens) == 299  # without the special token
    assert {bytes([byte]) for byte in range(256)} < tokens
    assert library(name).version()


def test_what_is_installed() -> None:
    assert installed("numpy")
    assert not installed("no_such_tokenizer_library")


def test_texts_come_back(tmp_path: Path) -> None:
    write_texts(tmp_path, TEXTS)
    assert read_texts(tmp_path) == TEXTS
