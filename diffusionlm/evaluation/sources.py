"""The score of each source of a mixture, out of the scores of all of them together: no row is scored twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from diffusionlm.evaluation.likelihood import report_of
from diffusionlm.evaluation.summary import BoundName, Estimator, LikelihoodReport, WindowScores
from diffusionlm.process import Process


@dataclass(frozen=True)
class SourceSpan:
    """Which of the documents that are scored are of which source.

    Attributes:
        number: The source's place in the mixture, from 1.
        text: The source in words.
        begin, end: Its documents, from and to.
    """

    number: int
    text: str
    begin: int
    end: int


@dataclass(frozen=True)
class SourceReport:
    """The score of one source.

    Attributes:
        number, text: As in ``SourceSpan``.
        likelihood: Of this source's documents alone; ``network_evaluations`` are those of all sources together.
    """

    number: int
    text: str
    likelihood: LikelihoodReport

    def record(self) -> dict[str, Any]:
        """Return everything as a flat table."""
        return {"source": self.number, "text": self.text, **asdict(self.likelihood)}


def select_spans(spans: Sequence[SourceSpan], documents: np.ndarray) -> tuple[SourceSpan, ...]:
    """Return the spans where only some documents, ascending indices, are kept and numbered anew."""
    found = []
    for span in spans:
        begin, end = np.searchsorted(documents, (span.begin, span.end)).tolist()
        found.append(replace(span, begin=begin, end=end))
    return tuple(found)


def source_reports(
    scores: WindowScores,
    spans: Sequence[SourceSpan],
    process: Process,
    estimator: Estimator = "exact_count",
    bound: BoundName = "nelbo",
) -> tuple[SourceReport, ...]:
    """Return the report of every source that text was scored of; the arguments are those of ``report_of``."""
    parts = [(span, scores.of_documents(span.begin, span.end)) for span in spans]
    return tuple(
        SourceReport(span.number, span.text, report_of(part, process, estimator, bound))
        for span, part in parts
        if part.bytes.sum() > 0
    )
