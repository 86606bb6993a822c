"""The picture of a text: how long its documents are, and how often its tokens occur by rank."""

from __future__ import annotations

import math
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from diffusionlm.data.shards import write_atomically
from diffusionlm.data.statistics import StoreStatistics
from diffusionlm.errors import ConfigError, DataError
from diffusionlm.workflows.plot_style import COLOURS, INSTALL, STYLE, short_number

_NARROWEST = 1.1
"""Least ratio of the two ends of a bin."""


def check(path: Path) -> None:
    """Refuse a picture that could not be written, before any text is read.

    Raises:
        ConfigError: matplotlib is missing, or the folder is not there or not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise ConfigError(f"plot = {str(path)!r}: there is no folder {str(folder)!r}; make it or name another")
    if path.is_dir():
        raise ConfigError(f"plot = {str(path)!r} is a folder; name a file in it")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"plot = {str(path)!r}: the folder {str(folder)!r} cannot be written; name another")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(f"plot: {INSTALL}") from None


def draw(found: StoreStatistics, title: str, path: Path) -> None:
    """Write the picture, whole or not at all; its kind follows from the path's ending.

    Raises:
        DataError: The disk is full, or cannot be written any more.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11.5, 4.4), layout="constrained")
        _lengths(left, found)
        _ranks(right, found)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color="#555555")
        picture = BytesIO()
        figure.savefig(picture, format=path.suffix[1:].lower())
        pyplot.close(figure)
    try:
        write_atomically(path, [picture.getbuffer()])
    except OSError as error:
        raise DataError(f"cannot write plot {str(path)!r}: {error.strerror}; mend that, or name another") from error


def _lengths(axes: Any, found: StoreStatistics) -> None:
    """How many documents have how many tokens, in bins of equal ratio; the row's length and the median as lines."""
    from matplotlib.ticker import LogLocator

    low, high = int(found.lengths.min()), int(found.lengths.max())
    row = found.rows.context_length
    # Lengths that are much alike and far from the row's would be bins too narrow to see.
    bins = min(40, 8 + int(2 * found.n_documents**0.5), 1 + int(math.log((high + 1) / low) / math.log(_NARROWEST)))
    edges = np.unique(np.geomspace(low, max(high + 1, low * _NARROWEST), bins + 1))
    axes.hist(found.lengths, bins=edges, color=COLOURS[0], alpha=0.85, edgecolor="white", linewidth=0.4)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(high, row) < 100 * min(low, row) else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.yaxis.set_major_formatter(lambda value, _: short_number(value))
    median = float(np.median(found.lengths))
    axes.axvline(median, color="#222222", linewidth=1.3, label=f"median {median:,.0f}")
    axes.axvline(row, color=COLOURS[1], linewidth=1.3, linestyle=(0, (4, 3)), label=f"a row, {row:,}")
    axes.set_title("Length of documents")
    axes.set_xlabel("tokens of a document, its EOS counted")
    axes.set_ylabel("documents")
    axes.legend(loc="best")


def _ranks(axes: Any, found: StoreStatistics) -> None:
    """Share of the tokens by rank, both logarithmic, with a straight line of slope −1 (Zipf's law) to compare."""
    counts = np.sort(found.counts[found.counts > 0])[::-1]
    ranks, shares = np.arange(1, len(counts) + 1), counts / counts.sum()
    axes.plot(ranks, shares, color=COLOURS[0], marker="." if len(counts) < 50 else None)
    axes.plot(ranks, shares[0] / ranks, color="#999999", linewidth=1.2, linestyle=(0, (4, 3)), label="1 / rank")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
    unused = "" if found.unused is None else f", {found.unused:,} of the vocabulary never occur"
    axes.set_title("Frequency of tokens by rank")
    axes.set_xlabel(f"rank; {len(counts):,} tokens occur{unused}")
    axes.set_ylabel("share of all tokens")
    axes.legend(loc="best")
