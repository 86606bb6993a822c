"""The Python interface, where no trained model is needed."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import diffusionlm
from diffusionlm.errors import ConfigError, DataError
from diffusionlm.model.transformer import build_model
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.tokenizer import ByteTokenizer
from diffusionlm.workflows.language_model import LanguageModel
from diffusionlm.workflows.opened import Opened
from tests.diffusionlm.checkpoint.doubles import tiny_params


def untrained() -> LanguageModel:
    tokenizer, params = ByteTokenizer(), tiny_params()
    vocabulary = Vocabulary.after(tokenizer.vocab_size)
    process = PROCESSES.build(PROCESSES["mask"].Params(), vocabulary)
    checkpoint: Any = SimpleNamespace(model=params)
    return LanguageModel(
        Opened(checkpoint, build_model(params, vocabulary, 0), tokenizer, process, torch.device("cpu"))
    )


def test_text_with_lone_surrogates_is_scored():
    undecodable = b"caf\xe9".decode("utf-8", "surrogateescape")
    report = untrained().score([undecodable, "\ud800"], draws=2)
    assert report.bytes == 4 + 3
    assert math.isfinite(report.bits_per_byte)


def test_a_text_is_scored_as_its_bytes():
    model = untrained()
    escaped = "é".encode().decode("ascii", "surrogateescape")
    assert model.score(escaped, draws=2) == model.score("é", draws=2)


def test_a_wrong_option_is_one_line():
    model = untrained()
    with pytest.raises(ConfigError, match=r"^lenth: unknown key; did you mean 'length'\?; allowed: batch_size, "):
        model.generate("A", lenth=3)
    with pytest.raises(ConfigError, match=r"^steps: 0 is not allowed; it must be greater than or equal to 1$"):
        model.infill("a<|hole:1|>", steps=0)
    with pytest.raises(ConfigError, match=r"^draws: 0 is not allowed; it must be greater than or equal to 1$"):
        model.score("a", draws=0)
    with pytest.raises(ConfigError, match=r"^checkpoint: '' is not allowed; it must have at least 1 character$"):
        diffusionlm.load("")


def test_what_is_no_text_is_named():
    model = untrained()
    with pytest.raises(TypeError, match=r"^prompts: 3 is neither a text nor a list of texts$"):
        model.generate(cast(Any, 3))
    with pytest.raises(TypeError, match=r"^texts: 3 in the list is no text$"):
        model.score(cast(Any, ["a", 3]))


def test_texts_without_text_are_named():
    with pytest.raises(DataError, match=r"a list of 1 given text holds no text"):
        untrained().score("")
