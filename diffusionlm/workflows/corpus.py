"""The text of a run, opened: tokenizer, training rows, held-out rows, and what the baselines need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from diffusionlm.data.batch import Batch
from diffusionlm.data.cache import cache_folder
from diffusionlm.data.corpus import Corpus, open_corpus, tokenize, training_loader
from diffusionlm.data.mixture import MixedDocuments
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.store import TokenStore, join_stores
from diffusionlm.data.streamed import StreamLoader
from diffusionlm.errors import DataError
from diffusionlm.evaluation import ByteCounts, count_bytes, count_tokens
from diffusionlm.params import Strict
from diffusionlm.tokenizer import Tokenizer, build_tokenizer
from diffusionlm.workflows.talk import tell_warnings

STREAMED_BASELINE_DOCUMENTS = 20_000
"""Documents of a streamed corpus that the baselines are fitted on."""
ROWS_PER_BATCH = 32

Say = Callable[[str], None]


@dataclass(frozen=True)
class TextData:
    """What a training run reads.

    Attributes:
        corpus: The two sides of the text.
        tokenizer: The tokenizer.
        loader: Training rows.
        held_out: The held-out documents' tokens, or None.
        held_out_parts: Of a mixture, which held-out documents (from, to) are of which source, by its number from 1.
        params: How rows are made.
        context_length: T.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    loader: RowLoader | StreamLoader
    held_out: TokenStore | None
    held_out_parts: dict[int, tuple[int, int]]
    params: DataParams
    context_length: int

    @property
    def fingerprint(self) -> str:
        """Names the training text: by its contents where it has been tokenized, else by its source."""
        return self.loader.store.fingerprint if isinstance(self.loader, RowLoader) else self.corpus.train.fingerprint

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that a training token stands for on average, EOS counted as a token without bytes."""
        store = self.loader.store if isinstance(self.loader, RowLoader) else self.held_out
        if store is None or store.n_bytes == 0:
            raise DataError("no tokenized text to measure bytes per token on; hold some text out")
        return store.n_bytes / store.n_tokens

    def held_out_rows(self, rows: int) -> list[Batch]:
        """Return ``rows`` held-out rows, spread evenly over all of them: always the same ones."""
        assert self.held_out is not None, "validation needs held-out text"
        loader = RowLoader(self.held_out, self.context_length, self.params.packing)
        chosen = np.unique(np.linspace(0, loader.rows_in_order - 1, min(rows, loader.rows_in_order)).round())
        return list(batches_in_order(loader, chosen.astype(np.int64)))


def batches_in_order(loader: RowLoader, rows: np.ndarray | None = None, size: int = ROWS_PER_BATCH) -> Iterator[Batch]:
    """Yield unshuffled rows (all of them unless given) in batches."""
    indices = np.arange(loader.rows_in_order) if rows is None else rows
    for begin in range(0, len(indices), size):
        yield loader.in_order(indices[begin : begin + size])


def open_text(
    data: DataParams,
    tokenizer_params: Strict,
    context_length: int,
    seed: int,
    say: Say,
    tokenizer: Tokenizer | None,
    check: Callable[[Tokenizer], None],
) -> TextData:
    """Open the corpus, train or load the tokenizer, and tokenize both sides.

    Args:
        data: Which text and how it becomes rows.
        tokenizer_params: How to get a tokenizer, if none is given.
        context_length: T.
        seed: Names the order of the rows.
        say: Takes one line about each long piece of work.
        tokenizer: The tokenizer of a resumed run.
        check: Called with the tokenizer as soon as it is there; it raises what cannot work with it.

    Raises:
        DataError: The text is missing or empty.
        TokenizerError: A tokenizer cannot be had.
    """
    corpus = open_corpus(data)
    if tokenizer is None:
        say(f"tokenizer: {type(tokenizer_params).model_fields['name'].default}, from {corpus.train.describe()}")
        with tell_warnings(say):
            tokenizer = build_tokenizer(tokenizer_params, lambda: corpus.train)
    check(tokenizer)
    say(f"tokenizing {corpus.train.describe()}")
    loader = training_loader(corpus.train, tokenizer, data, context_length, seed)
    held_out, parts = None, {}
    if isinstance(corpus.validation, MixedDocuments):
        stores = [tokenize(part, tokenizer, cache_folder(data.cache), data.workers) for part in corpus.validation.parts]
        held_out = join_stores(stores)
        bounds = np.cumsum([0, *(store.n_documents for store in stores)]).tolist()
        parts = dict(zip(corpus.validation.numbers, pairwise(bounds)))
    elif corpus.validation is not None:
        held_out = tokenize(corpus.validation, tokenizer, cache_folder(data.cache), data.workers)
    return TextData(corpus, tokenizer, loader, held_out, parts, data, context_length)


def fit_baselines(text: TextData) -> ByteCounts:
    """Return the byte and token counts of the training text; of its first documents where it is streamed."""
    documents, loader = text.corpus.train, text.loader
    if not isinstance(loader, RowLoader):
        return count_bytes(islice(documents, STREAMED_BASELINE_DOCUMENTS))
    if documents.tokens() is not None:
        return score_text(loader.store, text.tokenizer)
    store = loader.store
    arrays = (store.document(index) for index in range(store.n_documents))
    return ByteCounts(count_bytes(documents).pairs, count_tokens(arrays, text.tokenizer.vocab_size))


def score_text(store: TokenStore, tokenizer: Tokenizer) -> ByteCounts:
    """Return the byte and token counts of tokenized documents, from the tokens themselves."""

    def documents() -> Iterator[bytes]:
        for index in range(store.n_documents):
            yield tokenizer.decode_bytes(store.document(index).tolist(), skip_special=True)

    arrays = (store.document(index) for index in range(store.n_documents))
    return ByteCounts(count_bytes(documents()).pairs, count_tokens(arrays, tokenizer.vocab_size))


def spread_documents(store: TokenStore, tokens: int) -> TokenStore:
    """Return documents spread evenly over a store, about ``tokens`` tokens in all; the whole store if it is smaller."""
    if store.n_tokens <= tokens:
        return store
    wanted = max(1, round(store.n_documents * tokens / store.n_tokens))
    return store.select(np.unique(np.linspace(0, store.n_documents - 1, wanted).round().astype(np.int64)))
