"""The Python interface: a trained model that generates, fills in and scores text.

import diffusionlm
model = diffusionlm.load("runs/quickstart")
model.generate("def f(")[0].text
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from diffusionlm.data.documents import Documents, text_to_bytes
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.store import store_in_memory
from diffusionlm.evaluation import LikelihoodReport, likelihood
from diffusionlm.generation import (
    Draft,
    Generation,
    GenerationParams,
    Hole,
    Infilled,
    InfillingParams,
    generate,
    infill,
)
from diffusionlm.workflows.corpus import batches_in_order
from diffusionlm.workflows.opened import Opened


class _Texts(Documents):
    """Texts in memory as documents; a lone surrogate stands for the byte that Python could not decode."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = [text_to_bytes(text, "lossless", "a given text") for text in texts]

    def read(self) -> Iterator[bytes]:
        yield from self.texts

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"\0".join(self.texts)).hexdigest()

    def describe(self) -> str:
        return f"{len(self.texts)} given texts"


class LanguageModel:
    """A checkpoint that is ready to use; see ``diffusionlm.load``.

    Attributes:
        opened: The checkpoint, network, tokenizer and process.
    """

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def generate(self, prompts: str | Sequence[str] = "", **options: Any) -> list[Generation]:
        """Continue one prompt or several.

        Args:
            prompts: Texts; empty means from nothing.
            options: Fields of ``GenerationParams``: length, steps, sampler, temperature, samples, seed, …

        Returns:
            The samples of each prompt, in order.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        opened = self.opened
        return generate(opened.model, opened.tokenizer, opened.process, texts, GenerationParams(**options))

    def infill(self, texts: str | Sequence[str | Sequence[str | Hole | Draft]], **options: Any) -> list[Infilled]:
        """Fill the holes of one text or several.

        Args:
            texts: Texts with ``<|hole:N|>`` and ``<|draft|>…<|/draft|>`` markers, or lists of pieces (texts, ``Hole``
                and ``Draft``).
            options: Fields of ``InfillingParams``.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        opened = self.opened
        return infill(opened.model, opened.tokenizer, opened.process, given, InfillingParams(**options))

    def score(
        self, texts: str | Sequence[str], *, draws: int = 8, seed: int = 0, batch_size: int = 32
    ) -> LikelihoodReport:
        """Bound the likelihood of texts, taken together: bits per byte with a standard error.

        Args:
            texts: Documents.
            draws: Noise levels per window.
            seed: Seed of the noise.
            batch_size: Rows per forward pass; the value does not depend on it.
        """
        opened = self.opened
        documents = _Texts([texts] if isinstance(texts, str) else list(texts))
        loader = RowLoader(
            store_in_memory(documents, opened.tokenizer), opened.checkpoint.model.context_length, "one_per_row"
        )
        return likelihood(
            opened.model,
            opened.process,
            batches_in_order(loader, size=batch_size),
            opened.tokenizer.byte_lengths(),
            draws=draws,
            seed=seed,
            device=opened.device,
        )
