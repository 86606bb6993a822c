"""The text of a run, opened: tokenizer, training rows, held-out rows, and what the baselines need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from diffusionlm.data.batch import Batch
from diffusionlm.data.cache import cache_folder
from diffusionlm.data.corpus import Corpus, open_corpus, tokenize, training_loader
from diffusionlm.data.documents import Documents
from diffusionlm.data.mixture import MixedDocuments
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.store import TokenStore, join_stores
from diffusionlm.data.streamed import StreamLoader
from diffusionlm.errors import DataError
from diffusionlm.evaluation import ByteCounts, SourceSpan, count_bytes, count_tokens, select_spans
from diffusionlm.params import Strict
from diffusionlm.tokenizer import Tokenizer, build_tokenizer
from diffusionlm.workflows.talk import tell_warnings

STREAMED_BASELINE_DOCUMENTS = 20_000
"""Documents of a streamed corpus that the baselines are fitted on."""
ROWS_PER_BATCH = 32

Say = Callable[[str], None]


@dataclass(frozen=True)
class HeldOutText:
    """Held-out documents as tokens.

    Attributes:
        store: The tokens.
        spans: Of a mixture, which documents are of which source.
    """

    store: TokenStore
    spans: tuple[SourceSpan, ...] = ()

    def select(self, documents: np.ndarray) -> HeldOutText:
        """Return some of the documents, by ascending indices."""
        return HeldOutText(self.store.select(documents), select_spans(self.spans, documents))

    def first(self, documents: int) -> HeldOutText:
        """Return the first documents, at most so many."""
        return self.select(np.arange(min(documents, self.store.n_documents)))

    def spread(self, tokens: int) -> HeldOutText:
        """Return documents spread evenly over each source, about ``tokens`` tokens; all where there are no more."""
        if self.store.n_tokens <= tokens:
            return self
        share = tokens / self.store.n_tokens
        sides = [(span.begin, span.end) for span in self.spans] or [(0, self.store.n_documents)]
        return self.select(np.concatenate([_spread(begin, end, share) for begin, end in sides]))


def _spread(begin: int, end: int, share: float) -> np.ndarray:
    """Return a share of the numbers from ``begin`` to ``end``, evenly spread and at least one."""
    wanted = max(1, round((end - begin) * share))
    return np.unique(np.linspace(begin, end - 1, wanted).round().astype(np.int64))


def tokenize_held_out(documents: Documents, tokenizer: Tokenizer, cache: Path | None, workers: int = 1) -> HeldOutText:
    """Tokenize documents that are to be scored; the arguments and errors are those of ``tokenize``."""
    if not isinstance(documents, MixedDocuments):
        return HeldOutText(tokenize(documents, tokenizer, cache, workers))
    stores = [tokenize(part, tokenizer, cache, workers) for part in documents.parts]
    bounds = pairwise(np.cumsum([0, *(store.n_documents for store in stores)]).tolist())
    named = zip(documents.numbers, documents.parts, bounds)
    return HeldOutText(
        join_stores(stores), tuple(SourceSpan(number, part.describe(), *bound) for number, part, bound in named)
    )


@dataclass(frozen=True)
class TextData:
    """What a training run reads.

    Attributes:
        corpus: The two sides of the text.
        tokenizer: The tokenizer.
        loader: Training rows.
        held_out: The held-out documents, or None.
        params: How rows are made.
        context_length: T.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    loader: RowLoader | StreamLoader
    held_out: HeldOutText | None
    params: DataParams
    context_length: int

    @property
    def fingerprint(self) -> str:
        """Names the training text: by its contents where it has been tokenized, else by its source."""
        return self.loader.store.fingerprint if isinstance(self.loader, RowLoader) else self.corpus.train.fingerprint

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that a training token stands for on average, EOS counted as a token without bytes."""
        held_out = None if self.held_out is None else self.held_out.store
        store = self.loader.store if isinstance(self.loader, RowLoader) else held_out
        if store is None or store.n_bytes == 0:
            raise DataError("no tokenized text to measure bytes per token on; hold some text out")
        return store.n_bytes / store.n_tokens

    def held_out_rows(self, rows: int) -> list[Batch]:
        """Return ``rows`` held-out rows, spread evenly over all of them: always the same ones."""
        assert self.held_out is not None, "validation needs held-out text"
        loader = RowLoader(self.held_out.store, self.context_length, self.params.packing)
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
    say(f"tokens: from {corpus.train.describe()}")
    loader = training_loader(corpus.train, tokenizer, data, context_length, seed)
    held_out = None
    if corpus.validation is not None:
        held_out = tokenize_held_out(corpus.validation, tokenizer, cache_folder(data.cache), data.workers)
    return TextData(corpus, tokenizer, loader, held_out, data, context_length)


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
