"""The Python interface, where no trained model is needed."""

import math
from types import SimpleNamespace
from typing import Any

import torch

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
