"""The Python interface: a trained model that generates, fills in and scores text.

import diffusionlm
model = diffusionlm.load("runs/quickstart")
model.generate("def f(")[0].text
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

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
from diffusionlm.messages import validated
from diffusionlm.workflows.corpus import batches_in_order
from diffusionlm.workflows.opened import Opened
from diffusionlm.workflows.talk import plural
from diffusionlm.workflows.use_params import ScoringParams

T = TypeVar("T")


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
        return f"a list of {plural(len(self.texts), 'given text')}"


def _listed(texts: str | Sequence[str | T], name: str) -> list[str | T]:
    """Return one text or several as a list.

    Raises:
        TypeError: They are neither.
    """
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable):
        raise TypeError(f"{name}: {texts!r} is neither a text nor a list of texts")
    given = list(texts)
    for one in given:
        if not isinstance(one, Sequence):
            raise TypeError(f"{name}: {one!r} in the list is no text")
    return given


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
        texts = _listed(prompts, "prompts")
        opened = self.opened
        return generate(opened.model, opened.tokenizer, opened.process, texts, validated(GenerationParams, options))

    def infill(self, texts: str | Sequence[str | Sequence[str | Hole | Draft]], **options: Any) -> list[Infilled]:
        """Fill the holes of one text or several.

        Args:
            texts: Texts with ``<|hole:N|>`` and ``<|draft|>…<|/draft|>`` markers, or lists of pieces (texts, ``Hole``
                and ``Draft``).
            options: Fields of ``InfillingParams``.
        """
        given = _listed(texts, "texts")
        opened = self.opened
        return infill(opened.model, opened.tokenizer, opened.process, given, validated(InfillingParams, options))

    def score(
        self, texts: str | Sequence[str], *, draws: int = 8, seed: int = 0, batch_size: int = 32
    ) -> LikelihoodReport:
        """Bound the likelihood of texts, taken together: bits per byte with a standard error.

        Args:
            texts: Documents.
            draws: Noise levels per window.
            seed: Seed of the noise.
            batch_size: Rows per forward pass; the value does not depend on it.

        Raises:
            ConfigError: A number is below 1 (``seed``: below 0).
            DataError: There is no text in the texts.
        """
        opened = self.opened
        how = validated(ScoringParams, {"draws": draws, "seed": seed, "batch_size": batch_size})
        documents = _Texts(_listed(texts, "texts"))
        loader = RowLoader(
            store_in_memory(documents, opened.tokenizer), opened.checkpoint.model.context_length, "one_per_row"
        )
        return likelihood(
            opened.model,
            opened.process,
            batches_in_order(loader, size=how.batch_size),
            opened.tokenizer.byte_lengths(),
            draws=how.draws,
            seed=how.seed,
            device=opened.device,
        )
