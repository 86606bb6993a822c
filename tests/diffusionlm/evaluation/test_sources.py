"""Spans of documents, and the reports of the sources that they are of."""

import math

import numpy as np
import pytest

from diffusionlm.evaluation import SourceSpan, WindowScores, select_spans, source_reports
from diffusionlm.process import PROCESSES, Vocabulary

SPANS = (SourceSpan(1, "a", 0, 4), SourceSpan(3, "b", 4, 6), SourceSpan(4, "c", 6, 12))
PROCESS = PROCESSES.build(PROCESSES["mask"].Params(), Vocabulary.after(256))


@pytest.mark.parametrize(
    ("kept", "bounds"),
    [
        (np.arange(12), [(0, 4), (4, 6), (6, 12)]),
        (np.arange(5), [(0, 4), (4, 5), (5, 5)]),
        (np.array([0, 3, 6, 9]), [(0, 2), (2, 2), (2, 4)]),
        (np.array([11]), [(0, 0), (0, 0), (0, 1)]),
    ],
)
def test_spans_of_some_documents(kept, bounds):
    spans = select_spans(SPANS, kept)
    assert [(span.begin, span.end) for span in spans] == bounds
    assert [(span.number, span.text) for span in spans] == [(1, "a"), (3, "b"), (4, "c")]


def test_every_source_that_was_scored_has_a_report():
    document = np.array([0, 7, 3, 11, 7])
    scores = WindowScores(
        document, np.arange(5), np.full(5, 4), np.full(5, 10), np.array([[8.0, 1.0, 4.0, 2.0, 6.0]] * 2), rows=10
    )
    first, last = source_reports(scores, SPANS, PROCESS)
    assert (first.number, last.number) == (1, 4)
    assert first.likelihood.bits_per_byte == pytest.approx((8 + 4) / 20 / math.log(2))
    assert last.likelihood.bits_per_byte == pytest.approx((1 + 2 + 6) / 30 / math.log(2))
    assert (last.likelihood.documents, last.likelihood.windows) == (2, 3)
    assert source_reports(scores, (), PROCESS) == ()
