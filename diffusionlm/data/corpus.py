"""The two sides of a corpus, and their tokens: what the training and evaluation workflows open first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusionlm.data.cache import cache_folder, cached_store
from diffusionlm.data.documents import Documents
from diffusionlm.data.mixture import MixedDocuments, MixtureLoader, refuse_streamed
from diffusionlm.data.params import CorpusParams, DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.sources import SOURCES, Source
from diffusionlm.data.split import LimitedDocuments, SplitDocuments
from diffusionlm.data.store import TokenStore, join_stores, store_in_memory
from diffusionlm.data.streamed import StreamLoader
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Corpus:
    """The documents to learn from and the documents held out; ``validation`` is None where nothing is held out."""

    train: Documents
    validation: Documents | None


def open_corpus(params: CorpusParams) -> Corpus:
    """Open the source and split off what is held out.

    Raises:
        DataError: A source is missing or cannot be read.
    """
    if isinstance(params, DataParams) and params.mixture:
        return _open_mixture(params)
    return _sides(SOURCES.build(params.source), params)


def _sides(source: Source, params: CorpusParams) -> Corpus:
    """Split off what is held out of one source."""
    limit = params.validation_documents
    validation = None if params.validation_source is None else SOURCES.build(params.validation_source)
    if validation is None:
        validation = source.validation()
    if validation is not None:
        return Corpus(source, validation if limit is None else LimitedDocuments(validation, limit))
    if params.validation_fraction == 0:
        return Corpus(source, None)
    if source.streaming and limit is None:
        raise DataError(
            f"{source.describe()} is streamed, so its held-out part has no end; set validation_documents, a "
            "validation_source, or a validation split"
        )
    fraction = params.validation_fraction
    return Corpus(
        SplitDocuments(source, fraction, "train"), SplitDocuments(source, fraction, "validation", limit=limit)
    )


def _open_mixture(params: DataParams) -> Corpus:
    """Open every source and split each by itself; all that is held out is held out, one source after another."""
    alone = params.model_copy(update={"mixture": (), "validation_source": None})
    sources = [SOURCES.build(part.source) for part in params.mixture]
    for source in sources:
        refuse_streamed(source)
    corpora = [_sides(source, alone) for source in sources]
    weights = [part.weight for part in params.mixture]
    train = MixedDocuments([corpus.train for corpus in corpora], weights)
    if params.validation_source is not None:
        validation = SOURCES.build(params.validation_source)
        limit = params.validation_documents
        return Corpus(train, validation if limit is None else LimitedDocuments(validation, limit))
    held_out = {number: c.validation for number, c in enumerate(corpora, start=1) if c.validation is not None}
    if not held_out:
        return Corpus(train, None)
    return Corpus(train, MixedDocuments([*held_out.values()], [1.0] * len(held_out), [*held_out]))


def tokenize(documents: Documents, tokenizer: Tokenizer, cache_dir: Path | None = None, workers: int = 1) -> TokenStore:
    """Return the documents as tokens, each ending with EOS; shards are opened as they are.

    Args:
        documents: What to tokenize.
        tokenizer: The tokenizer.
        cache_dir: Where tokens are kept for the next run on the same documents; None keeps them in memory only, as
            does text whose changes could not be noticed.
        workers: Processes that tokenize.

    Raises:
        DataError: There are no documents, or shards or cache are damaged or made by another tokenizer.
        OSError: The disk is full.
    """
    if isinstance(documents, MixedDocuments):
        return join_stores([tokenize(part, tokenizer, cache_dir, workers) for part in documents.parts])
    stored = documents.tokens()
    if stored is not None:
        stored.check_tokenizer(tokenizer, documents.describe())
        return stored
    if cache_dir is None or not documents.cacheable:
        return store_in_memory(documents, tokenizer, workers)
    return cached_store(documents, tokenizer, cache_dir, workers)


def training_loader(
    documents: Documents, tokenizer: Tokenizer, params: DataParams, context_length: int, seed: int
) -> RowLoader | StreamLoader:
    """Return the rows of the training documents, tokenized first, or on the way where they are streamed.

    Args:
        documents: ``Corpus.train``.
        tokenizer: The tokenizer.
        params: Packing, cache, workers, shuffling.
        context_length: T, tokens in a row.
        seed: Names the order.

    Raises:
        DataError: There are no documents, or they cannot be read.
    """
    packing, cap = params.packing, params.eos_padding_cap
    if documents.streaming:
        return StreamLoader(documents, tokenizer, context_length, packing, seed, cap, params.shuffle_buffer)
    if isinstance(documents, MixedDocuments):
        stores = [tokenize(part, tokenizer, cache_folder(params.cache), params.workers) for part in documents.parts]
        return MixtureLoader(stores, documents.weights, context_length, packing, seed, cap)
    store = tokenize(documents, tokenizer, cache_folder(params.cache), params.workers)
    return RowLoader(store, context_length, packing, seed, cap)
