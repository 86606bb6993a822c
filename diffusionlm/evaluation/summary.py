"""From the scores of windows to one report: nats per token, bits per token, bits per byte, and the error of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffusionlm.errors import DataError
from diffusionlm.evaluation.error import ErrorUnit, draw_error, monte_carlo_error, ratio_error

Estimator = Literal["exact_count", "bernoulli"]
BoundName = Literal["nelbo", "gkl"]
FEW = 8
"""With fewer clusters than this, their spread says little about the error."""


@dataclass(frozen=True)
class WindowScores:
    """What every scored window of every document cost.

    Attributes:
        document, window: (S,) int64, which piece of which document.
        tokens, bytes: (S,) int64, scored tokens (EOS included) and the UTF-8 bytes that they stand for.
        nats: (D, S) float64, the unbiased bound estimate of each draw, nats per window.
        rows: Rows that went through the network, all draws together.
    """

    document: np.ndarray
    window: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray
    nats: np.ndarray
    rows: int

    def of_documents(self, begin: int, end: int) -> WindowScores:
        """Return the scores of documents ``begin`` to ``end``; ``rows`` stays that of the whole."""
        chosen = (self.document >= begin) & (self.document < end)
        return WindowScores(
            self.document[chosen],
            self.window[chosen],
            self.tokens[chosen],
            self.bytes[chosen],
            self.nats[:, chosen],
            self.rows,
        )


@dataclass(frozen=True)
class LikelihoodReport:
    """An upper bound on the negative log-likelihood of a text, with its standard error.

    Attributes:
        nats_per_token, bits_per_token: Per scored token, EOS included.
        bits_per_byte: Per UTF-8 byte of the scored documents; the numerator includes EOS. The one number that compares
            tokenizers.
        nats_per_token_error, bits_per_token_error, bits_per_byte_error: One standard error of each; ``None`` if a
            single window was scored with a single draw.
        error_unit: What the standard error treats as independent. ``document``: whole documents (a ratio estimator,
            so it covers both the choice of documents and the noise); ``window``: pieces of documents, where there are
            fewer than 8 documents; ``draw``: the draws of the noise, where there are few windows too: it then says
            nothing about other text. Noise levels are stratified, which makes all three a little too large, never too
            small.
        noise_error: Standard error of nats_per_token from the noise alone, these documents given; ``None`` for one
            draw.
        tokens, bytes, documents, windows: What was scored.
        draws: Noise levels per window.
        network_evaluations: Rows that went through the network.
        estimator: ``exact_count`` or ``bernoulli``.
        bound: ``tight`` (equal to the entropy at the exact head), ``loose``, or ``exact`` (the likelihood itself).
        bound_name: Which bound it is: ``nelbo``, or ``gkl``, the generalised KL of discrete flow matching.
    """

    nats_per_token: float
    nats_per_token_error: float | None
    bits_per_token: float
    bits_per_token_error: float | None
    bits_per_byte: float
    bits_per_byte_error: float | None
    error_unit: ErrorUnit
    noise_error: float | None
    tokens: int
    bytes: int
    documents: int
    windows: int
    draws: int
    network_evaluations: int
    estimator: Estimator
    bound: str
    bound_name: BoundName


def summarise(
    scores: WindowScores, estimator: Estimator, bound: str, bound_name: BoundName = "nelbo"
) -> LikelihoodReport:
    """Return the report of scored windows.

    Raises:
        DataError: The scored tokens stand for no bytes at all.
    """
    draws, windows = scores.nats.shape
    documents, place = np.unique(scores.document, return_inverse=True)
    tokens, size = int(scores.tokens.sum()), int(scores.bytes.sum())
    if size == 0:
        raise DataError("the scored text stands for no bytes, so there are no bits per byte; give a longer text")
    per_window = scores.nats.mean(axis=0)  # (S,)
    total = float(per_window.sum())
    unit = _error_unit(len(documents), windows, draws)

    def error(counts: np.ndarray) -> float | None:
        if unit == "document":
            merged = (np.bincount(place, weights=values, minlength=len(documents)) for values in (per_window, counts))
            return ratio_error(*merged)
        if unit == "window":
            return ratio_error(per_window, counts)
        return draw_error(scores.nats, counts) if unit == "draw" else None

    per_token, per_byte = error(scores.tokens), error(scores.bytes)
    return LikelihoodReport(
        nats_per_token=total / tokens,
        nats_per_token_error=per_token,
        bits_per_token=total / tokens / math.log(2),
        bits_per_token_error=None if per_token is None else per_token / math.log(2),
        bits_per_byte=total / size / math.log(2),
        bits_per_byte_error=None if per_byte is None else per_byte / math.log(2),
        error_unit=unit,
        noise_error=monte_carlo_error(scores.nats, scores.tokens) if draws > 1 else None,
        tokens=tokens,
        bytes=size,
        documents=len(documents),
        windows=windows,
        draws=draws,
        network_evaluations=scores.rows,
        estimator=estimator,
        bound=bound,
        bound_name=bound_name,
    )


def _error_unit(documents: int, windows: int, draws: int) -> ErrorUnit:
    if documents >= FEW:
        return "document"
    if windows >= FEW:
        return "window"
    if draws > 1:
        return "draw"
    return "window" if windows > 1 else "none"
