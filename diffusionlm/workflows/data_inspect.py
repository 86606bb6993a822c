"""``flowlm data inspect``: the rows that a model is trained on, as a person reads them, and what the text holds.

Rows come from the loader that training uses and their noise from the objective that it minimises, with the same seeds:
what is shown is what a step sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from rich.console import Console

from diffusionlm.checkpoint import Checkpoint, load_checkpoint, resolve_checkpoint
from diffusionlm.data.batch import Batch
from diffusionlm.data.cache import cache_folder
from diffusionlm.data.corpus import open_corpus, tokenize, training_loader
from diffusionlm.data.documents import Documents
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.shards import TOKENIZER_FOLDER
from diffusionlm.data.sources import SOURCES, ShardsSource
from diffusionlm.data.split import LimitedDocuments
from diffusionlm.data.statistics import StoreStatistics, measure
from diffusionlm.data.store import TokenStore, store_in_memory
from diffusionlm.data.streamed import StreamLoader
from diffusionlm.errors import ConfigError, DataError
from diffusionlm.model.params import TransformerParams
from diffusionlm.objective import OBJECTIVES, Objective
from diffusionlm.objective.engine import Prepared, prepare
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.rng import key
from diffusionlm.tokenizer import ByteTokenizer, Tokenizer, build_tokenizer, load_tokenizer
from diffusionlm.training.params import TrainingParams
from diffusionlm.workflows import data_plots
from diffusionlm.workflows.changing_line import counted
from diffusionlm.workflows.command import AnyObjective
from diffusionlm.workflows.data_report import statistics_text, token_records
from diffusionlm.workflows.evaluate import saved_data
from diffusionlm.workflows.params import DataInspectParams
from diffusionlm.workflows.row_view import PackedRow, row_of, rows_text
from diffusionlm.workflows.talk import say, tell_warnings
from diffusionlm.workflows.train_params import name_methods

STREAMED_DOCUMENTS = 10_000
"""Documents of a streamed text that are measured where no number is given."""


@dataclass(frozen=True)
class DataInspection:
    """What was found.

    Attributes:
        text: Which text, in words.
        rows: The rows that were asked for.
        statistics: None where they were not asked for.
        tokenizer: None where the shards have none beside them.
        params: What was asked for.
    """

    text: str
    rows: tuple[PackedRow, ...]
    statistics: StoreStatistics | None
    tokenizer: Tokenizer | None
    params: DataInspectParams

    def report(self) -> str:
        """Return everything as text for the terminal, with colours where stdout is one that has them."""
        console = Console()
        parts = []
        if self.rows:
            parts.append(rows_text(self.rows, self.tokenizer, console, boundaries=self.params.tokens))
        if self.statistics is not None and self.params.statistics:
            parts.append(statistics_text(self.statistics, self.tokenizer, self.params.top))
        return "\n\n".join([self.text, *parts])

    def record(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        found: dict[str, Any] = {"text": self.text, "rows": [row.record(self.tokenizer) for row in self.rows]}
        if self.statistics is not None and self.params.statistics:
            frequent = token_records(self.statistics, self.tokenizer, self.params.top)
            found["statistics"] = {**self.statistics.record(), "most_frequent": frequent}
        return found


def data_inspect(params: DataInspectParams) -> DataInspection:
    """Open a text as training would, and return its rows and statistics; draw the picture that was asked for.

    Raises:
        FlowLMError: The text, the tokenizer or the checkpoint is missing or damaged, they do not belong together, or
            there is no such row.
    """
    if params.plot is not None:
        data_plots.check(params.plot)
    opened = _open(params)
    rows = tuple(_rows(opened, params)) if params.rows else ()
    statistics = None
    if params.statistics or params.plot is not None:
        statistics = _measure(opened, params)
    if params.plot is not None and statistics is not None:
        data_plots.draw(statistics, opened.text, params.plot)
        say(f"plot: {params.plot}")
    return DataInspection(opened.text, rows, statistics, opened.tokenizer, params)


@dataclass(frozen=True)
class _Opened:
    """One side of a text, ready to be looked at."""

    text: str
    documents: Documents
    tokenizer: Tokenizer | None
    loader: RowLoader | StreamLoader
    data: DataParams
    context_length: int
    seed: int
    batch_size: int
    objective: Objective | None


def _open(params: DataInspectParams) -> _Opened:
    """Open what the parameters name, taking from the checkpoint what they leave out."""
    checkpoint = None if params.checkpoint is None else load_checkpoint(resolve_checkpoint(params.checkpoint).path)
    saved = {} if checkpoint is None else dict(checkpoint.data)
    data = params.data
    if data is None:
        data = DataParams.model_validate({"validation_fraction": 0.0}) if checkpoint is None else saved_data(checkpoint)
    context_length = params.context_length or TransformerParams().context_length
    if checkpoint is not None and params.context_length is None:
        context_length = checkpoint.model.context_length
    seed = params.seed if params.seed is not None else 0 if checkpoint is None else checkpoint.state.seed
    batch_size = params.batch_size or TrainingParams.model_fields["batch_size"].default
    if params.batch_size is None and "training.batch_size" in saved:
        batch_size = int(saved["training.batch_size"])
    corpus = open_corpus(data)
    tokenizer = _tokenizer(params.tokenizer, checkpoint, data, corpus.train)
    documents = corpus.train if params.side == "train" else corpus.validation
    if documents is None:
        raise DataError(
            f"{corpus.train.describe()} has nothing held out (data.validation_fraction = 0); raise it, or set side = "
            '"train"'
        )
    # What cannot go together is refused before the text is tokenized.
    objective = None if params.time is None else _objective(params, checkpoint, tokenizer)
    kind = "no tokenizer" if tokenizer is None else f"vocabulary of {tokenizer.vocab_size:,}"
    return _Opened(
        text=f"{documents.describe()} · {kind} · {data.packing} rows of {context_length}",
        documents=documents,
        tokenizer=tokenizer,
        loader=_loader(documents, tokenizer, data, context_length, seed, params.side),
        data=data,
        context_length=context_length,
        seed=seed,
        batch_size=batch_size,
        objective=objective,
    )


def _tokenizer(
    wanted: Strict | None, checkpoint: Checkpoint | None, data: DataParams, train: Documents
) -> Tokenizer | None:
    """Return the tokenizer that was asked for, or that belongs to the checkpoint or the shards; None: there is none."""
    if wanted is not None:
        with tell_warnings():
            return build_tokenizer(wanted, lambda: train)
    if checkpoint is not None:
        return checkpoint.tokenizer()
    source = None if data.mixture else SOURCES.build(data.source)
    if not isinstance(source, ShardsSource):
        say("tokenizer: bytes; --tokenizer bpe trains one on this text, --tokenizer PATH takes one")
        return ByteTokenizer()
    folder = source.folder / TOKENIZER_FOLDER
    if folder.is_dir():
        return load_tokenizer(folder)
    say(f"no tokenizer beside the shards ({str(folder)!r} is not there): ids in place of text; give one by --tokenizer")
    return None


def _loader(
    documents: Documents, tokenizer: Tokenizer | None, data: DataParams, context_length: int, seed: int, side: str
) -> RowLoader | StreamLoader:
    """Return the rows: of training, or of the held-out documents in order."""
    if tokenizer is None:
        stored = documents.tokens()
        if stored is None:
            raise DataError(
                f"{documents.describe()} needs a tokenizer, and the shards have none; give one by --tokenizer"
            )
        return RowLoader(stored, context_length, data.packing, seed, data.eos_padding_cap)
    if side == "train":
        return training_loader(documents, tokenizer, data, context_length, seed)
    store = tokenize(documents, tokenizer, cache_folder(data.cache), data.workers)
    return RowLoader(store, context_length, data.packing)


def _objective(params: DataInspectParams, checkpoint: Checkpoint | None, tokenizer: Tokenizer | None) -> Objective:
    """Return the objective, with its process, whose noise is to be shown."""
    if tokenizer is None:
        raise ConfigError("the noise needs the size of the vocabulary, and there is no tokenizer; set tokenizer")
    process: Any = params.process
    objective = params.objective
    if checkpoint is not None and process is None:
        process, objective = checkpoint.process, objective or checkpoint.objective_params(AnyObjective)
    process = process or PROCESSES["mask"].Params()
    if objective is None:
        belongs = name_methods({"process": process.model_dump()})["objective"]
        objective = OBJECTIVES[belongs["name"]].Params.model_validate(belongs)
    mask_id = process.mask_id if "mask_id" in type(process).model_fields else None
    return OBJECTIVES.build(objective, PROCESSES.build(process, Vocabulary.after(tokenizer.vocab_size, mask_id)))


def _rows(opened: _Opened, params: DataInspectParams) -> Iterator[PackedRow]:
    """Yield the rows that were asked for.

    Raises:
        DataError: There are fewer held-out rows.
    """
    numbers = range(params.row, params.row + params.rows)
    loader = opened.loader
    eos_id = loader.store.eos_id if isinstance(loader, RowLoader) else loader.tokenizer.eos_id
    if params.side == "validation":
        assert isinstance(loader, RowLoader), "held-out text is never streamed"
        if numbers[-1] >= loader.rows_in_order:
            raise DataError(
                f"row {numbers[-1]} is not there: {opened.documents.describe()} has {loader.rows_in_order} rows, "
                f"0 … {loader.rows_in_order - 1}; lower row or rows"
            )
        for number in numbers:
            words = f"of {loader.rows_in_order:,} held-out rows"
            yield row_of(number, loader.in_order(np.array([number])), eos_id, None, words)
        return
    for number, batch in zip(numbers, _training_rows(loader, numbers)):
        step, place = divmod(number, opened.batch_size)
        words = f"step {step:,}, row {place} of {opened.batch_size}"
        if isinstance(loader, RowLoader):
            epoch, within = divmod(number, loader.rows_per_epoch)
            words = f"epoch {epoch:,}, row {within:,} of {loader.rows_per_epoch:,} · {words}"
        yield row_of(number, batch, eos_id, _noise(opened, params, batch, step, place), words)


def _training_rows(loader: RowLoader | StreamLoader, numbers: range) -> Iterator[Batch]:
    """Yield rows of the order of training; a stream is read from its beginning."""
    if isinstance(loader, RowLoader):
        for number in numbers:
            yield loader.batch(np.array([number]))
    else:
        steps = loader.steps(loader.first_cursor, 1, 0, 1)
        for batch, _ in islice(steps, numbers.start, numbers.stop):
            yield batch


def _noise(opened: _Opened, params: DataInspectParams, batch: Batch, step: int, place: int) -> Prepared | None:
    """Return a row as a step noises it, or None where that was not asked for."""
    if opened.objective is None or params.time is None:
        return None
    time = None if params.time == "drawn" else params.time
    noise_seed = key(opened.seed, "training")
    return prepare(opened.objective, batch, noise_seed, step, torch.tensor([place]), opened.batch_size, time)


def _measure(opened: _Opened, params: DataInspectParams) -> StoreStatistics:
    """Return the statistics of the documents, or of the first of them."""
    store = _store(opened, params)
    with counted("measuring", store.n_documents, "document") as measured:
        return measure(store, opened.tokenizer, opened.context_length, opened.data.eos_padding_cap, measured)


def _store(opened: _Opened, params: DataInspectParams) -> TokenStore:
    if isinstance(opened.loader, RowLoader):
        store = opened.loader.store
        return store if params.documents is None else store.select(slice(params.documents))
    assert opened.tokenizer is not None, "a stream is encoded on the way"
    first = LimitedDocuments(opened.documents, params.documents or STREAMED_DOCUMENTS)
    return store_in_memory(first, opened.tokenizer, opened.data.workers)
