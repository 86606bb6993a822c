"""``flowlm eval``: the likelihood bound of a text under a checkpoint, next to the baselines, with its error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from diffusionlm.checkpoint import Checkpoint
from diffusionlm.data.cache import UnwritableCache, cache_folder
from diffusionlm.data.corpus import open_corpus
from diffusionlm.data.documents import Documents
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.sources import SOURCES
from diffusionlm.data.store import TokenStore
from diffusionlm.errors import CheckpointError, DataError, PairingError
from diffusionlm.evaluation import (
    BaselineReport,
    ByteCounts,
    LikelihoodReport,
    SourceReport,
    WindowScores,
    report_of,
    score_baselines,
    score_windows,
    source_reports,
    to_json,
    to_table,
)
from diffusionlm.registry import params_name
from diffusionlm.workflows.changing_line import counted
from diffusionlm.workflows.corpus import HeldOutText, batches_in_order, score_text, tokenize_held_out
from diffusionlm.workflows.opened import Opened, open_checkpoint
from diffusionlm.workflows.params import EvalParams


@dataclass(frozen=True)
class EvalReport:
    """The scores of one text.

    Attributes:
        checkpoint, text: What was scored under what, in words.
        likelihood: The bound.
        baselines: Models without a network on the same documents; None if the checkpoint holds no counts.
        sources: Of a mixture, the bound on each source.
    """

    checkpoint: str
    text: str
    likelihood: LikelihoodReport
    baselines: BaselineReport | None
    sources: tuple[SourceReport, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return every number as a JSON object."""
        named = {"checkpoint": self.checkpoint, "text": self.text}
        return json.loads(to_json(self.likelihood, self.baselines, self.sources, **named))

    def report(self) -> str:
        """Return the scores as a table of plain text."""
        console = Console(width=100, highlight=False)
        with console.capture() as capture:
            console.print(f"{self.checkpoint} on {self.text}")
            for source in self.sources:
                console.print(f"source {source.number}: {source.text}")
            console.print(to_table(self.likelihood, self.baselines, self.sources))
        return "\n".join(line.rstrip() for line in capture.get().splitlines())


def evaluate(params: EvalParams) -> EvalReport:
    """Score a text under a checkpoint.

    Raises:
        FlowLMError: The checkpoint or the text is missing, damaged or empty.
    """
    opened = open_checkpoint(params)
    if opened.process.bound == "none":  # before any text is read
        raise PairingError(
            f"process {params_name(type(opened.process.params))!r} has no likelihood bound, so there is nothing to "
            "evaluate here; its training reports cross-entropies, and flowlm compare its samples"
        )
    documents = _documents(opened, params)
    text = _tokens(documents, opened)
    if params.documents is not None:
        text = text.first(params.documents)
    scores = _score(opened, text.store, params)
    report = report_of(scores, opened.process, params.estimator, params.bound)
    sources = source_reports(scores, text.spans, opened.process, params.estimator, params.bound)
    counts = opened.checkpoint.byte_counts()
    baselines = None
    if counts is not None:
        baselines = score_baselines(ByteCounts.from_tensors(counts), score_text(text.store, opened.tokenizer))
    return EvalReport(str(opened.checkpoint.path), documents.describe(), report, baselines, sources)


def _tokens(documents: Documents, opened: Opened) -> HeldOutText:
    """Return the documents as tokens; where the run's cache cannot be written (another machine, say), without one."""
    try:
        return tokenize_held_out(documents, opened.tokenizer, cache_folder(saved_data(opened.checkpoint).cache))
    except UnwritableCache:
        return tokenize_held_out(documents, opened.tokenizer, None)


def _score(opened: Opened, store: TokenStore, params: EvalParams) -> WindowScores:
    data = saved_data(opened.checkpoint)
    loader = RowLoader(store, opened.checkpoint.model.context_length, data.packing)
    draws = params.draws if opened.process.random else 1
    with counted("scoring", loader.rows_in_order * draws, "row") as scored:
        return score_windows(
            opened.model,
            opened.process,
            batches_in_order(loader, size=params.batch_size),
            opened.tokenizer.byte_lengths(),
            draws=draws,
            seed=params.seed,
            estimator=params.estimator,
            bound=params.bound,
            device=opened.device,
            on_rows=scored,
        )


def _documents(opened: Opened, params: EvalParams) -> Documents:
    if params.source is not None:
        return SOURCES.build(params.source)
    corpus = open_corpus(saved_data(opened.checkpoint))
    if corpus.validation is None:
        raise DataError(
            f"{opened.checkpoint.path} was trained with nothing held out; give a text to score (--file FILE)"
        )
    return corpus.validation


def saved_data(checkpoint: Checkpoint) -> DataParams:
    """Return the data parameters of the run that wrote a checkpoint.

    Raises:
        CheckpointError: They are missing, or of another version.
    """
    table: Any = checkpoint.data
    try:
        return TypeAdapter(DataParams).validate_python(table["params"])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its data parameters cannot be read; give a text of its own (for eval: --file FILE)"
        ) from error
