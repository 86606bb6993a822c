"""Held-out scores of a run: while it trains, and once more at its end next to the baselines."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.data.rows import RowLoader
from diffusionlm.evaluation import (
    BaselineReport,
    ByteCounts,
    CECurve,
    LikelihoodReport,
    SourceReport,
    WindowScores,
    ce_curve,
    report_of,
    score_baselines,
    score_windows,
    source_reports,
)
from diffusionlm.training.params import ValidationParams
from diffusionlm.workflows.assemble import Parts
from diffusionlm.workflows.corpus import TextData, batches_in_order, score_text


def averaged(parts: Parts) -> AbstractContextManager[Any]:
    """Return a context in which the model has its averaged weights, if the run keeps an average."""
    return nullcontext() if parts.ema is None else parts.ema.swap(parts.parameters)


@dataclass(frozen=True)
class FinalScores:
    """The held-out scores of a finished run.

    Attributes:
        likelihood: The bound.
        baselines: Models without a network on the same documents.
        sources: Of a mixture, the bound on each source.
    """

    likelihood: LikelihoodReport
    baselines: BaselineReport
    sources: tuple[SourceReport, ...]


class HeldOut:
    """The held-out text of a run.

    Args:
        text: The text; ``held_out`` is there.
        params: How it is scored.
        device: Where.
    """

    def __init__(self, text: TextData, params: ValidationParams, device: torch.device) -> None:
        self.text, self.params, self.device = text, params, device
        self.rows = text.held_out_rows(params.rows)
        self.byte_lengths = text.tokenizer.byte_lengths()

    def score(self, parts: Parts) -> tuple[LikelihoodReport, tuple[SourceReport, ...]]:
        """Score the rows of every validation: the same ones, with the same noise.

        Returns:
            The report of all of them, and of a mixture that of each source that they hold text of.
        """
        assert self.text.held_out is not None, "there is held-out text"
        scores = self._score(parts, self.rows)
        return report_of(scores, parts.process), source_reports(scores, self.text.held_out.spans, parts.process)

    def final(self, parts: Parts, byte_counts: ByteCounts) -> FinalScores:
        """Score more of the text, and the baselines on the same documents."""
        assert self.text.held_out is not None, "there is held-out text"
        text = self.text.held_out.spread(self.params.final_tokens)
        loader = RowLoader(text.store, self.text.context_length, self.text.params.packing)
        scores = self._score(parts, batches_in_order(loader))
        return FinalScores(
            report_of(scores, parts.process),
            score_baselines(byte_counts, score_text(text.store, self.text.tokenizer)),
            source_reports(scores, text.spans, parts.process),
        )

    def curve(self, parts: Parts) -> CECurve:
        """Return the cross-entropies of the rows of every validation, for a process without a bound."""
        precision, parts.model.compute_dtype = parts.model.compute_dtype, torch.float32
        try:
            with averaged(parts):
                return ce_curve(parts.model, parts.process, self.rows, seed=self.params.seed, device=self.device)
        finally:
            parts.model.compute_dtype = precision

    def _score(self, parts: Parts, batches: Iterable[Batch]) -> WindowScores:
        """Bound the likelihood with the averaged weights, in float32, on noise that training never sees."""
        model = parts.model
        precision, model.compute_dtype = model.compute_dtype, torch.float32
        try:
            with averaged(parts):
                return score_windows(
                    model,
                    parts.process,
                    batches,
                    self.byte_lengths,
                    draws=self.params.draws,
                    seed=self.params.seed,
                    device=self.device,
                )
        finally:
            model.compute_dtype = precision
