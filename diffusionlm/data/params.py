"""The parameters of the data path: which text, what is held out, how rows are made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from diffusionlm.data.sources import SOURCES
from diffusionlm.params import Strict

if TYPE_CHECKING:
    SourceUnion = Any  # the union is built from the registry, which a type checker cannot run
else:
    SourceUnion = SOURCES.union("python-stdlib")


class CorpusParams(Strict):
    """Which text a run learns from, and what of it is held out."""

    source: SourceUnion = SOURCES["python-stdlib"].Params()
    """Where the training text comes from."""
    validation_fraction: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of documents held out by the SHA-256 of their bytes, where there is no other held-out text; 0: nothing."""
    validation_source: SourceUnion | None = None
    """Held-out text of its own; then all of ``source`` is training text."""
    validation_documents: int | None = Field(None, ge=1)
    """At most this many held-out documents; needed when they come out of a streamed source."""
    workers: int = Field(1, ge=0)
    """Threads or processes that tokenize, 0 = one for each core; the tokens do not depend on it."""


class MixturePart(Strict):
    """One source of a mixture."""

    source: SourceUnion
    """Where its text comes from."""
    weight: float = Field(gt=0.0, allow_inf_nan=False)
    """Its share of the training tokens; only the ratios of the weights count."""


class DataParams(CorpusParams):
    """Which text a run learns from and how it becomes rows."""

    mixture: tuple[MixturePart, ...] = ()
    """Several sources in place of ``source``, as [[data.mixture]] tables; each holds out a part of its own."""
    packing: Literal["packed", "one_per_row"] = "packed"
    """packed: documents end to end, each piece its own segment. one_per_row: a window of one document in each row."""
    eos_padding_cap: int = Field(16, ge=0)
    """one_per_row: at most this many scored EOS tokens after the document's own; the rest of the row is padding."""
    prefetch: int = Field(2, ge=0)
    """Steps prepared ahead in a background thread; 0 prepares each when asked."""
    shuffle_buffer: int = Field(1024, ge=0)
    """Streamed sources: documents that are shuffled together; 0 keeps their order."""
    cache: str = Field(default="auto", min_length=1)
    """Where tokenized text is kept: a folder, "none" (memory), or "auto" ($FLOWLM_CACHE, else ~/.cache/flowlm)."""

    @model_validator(mode="after")
    def _one_kind_of_source(self) -> Self:
        if self.mixture and self.source != SOURCES["python-stdlib"].Params():
            raise ValueError("a mixture takes the place of source; give one of them")
        return self
