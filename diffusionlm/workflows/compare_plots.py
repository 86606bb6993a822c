"""The pictures of a comparison: bits per byte over tokens, quality over network evaluations, quality over diversity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from diffusionlm.workflows.compare_results import CompareReport, Mean
from diffusionlm.workflows.plot_style import COLOURS, INSTALL, MARKERS, STYLE, short_number


def draw(report: CompareReport) -> tuple[str, ...]:
    """Write the pictures to the comparison's folder and return the files; one line where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return (f"no plots: {INSTALL}",)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    with pyplot.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        pictures = [
            ("bits_per_byte.png", _curves),
            ("quality_nfe.png", _over_nfe),
            ("quality_diversity.png", _frontier),
        ]
        for name, picture in pictures:
            figure, axes = pyplot.subplots()
            if picture(axes, report):
                figure.savefig(report.folder / name)
                written.append(str(report.folder / name))
            pyplot.close(figure)
    return tuple(written)


def _look(report: CompareReport, method: str) -> dict[str, Any]:
    index = report.methods.index(method)
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "label": method}


def _curves(axes: Any, report: CompareReport) -> bool:
    """Bits per byte over tokens, a band of one standard error; loose bounds dashed, so that they are not mixed up."""
    drawn = 0
    for method in report.methods:
        runs = [run for run in report.of(method) if run.get("curve")]
        if not runs:
            continue
        drawn += 1
        points: dict[float, list[float | None]] = {}
        for run in runs:
            for tokens, bits in run["curve"]:
                points.setdefault(tokens, []).append(bits)
        x = [tokens for tokens in sorted(points) if len(points[tokens]) == len(runs)] or sorted(points)
        means = [Mean.of(points[tokens]) for tokens in x]
        y, errors = [mean.value or math.nan for mean in means], [mean.error or 0.0 for mean in means]
        look = _look(report, method)
        is_loose = any(run["bound"] == "loose" for run in runs)
        is_exact = any(run["bound"] == "exact" for run in runs)
        look["label"] += " (loose bound)" if is_loose else " (exact)" if is_exact else ""
        axes.plot(x, y, linestyle="--" if is_loose else "-", markersize=4.5, **look)
        low, high = ([a + sign * b for a, b in zip(y, errors)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    axes.set_title("Held-out bits per byte over training tokens")
    axes.set_xlabel("training tokens")
    axes.set_ylabel("bits per byte (upper bound)")
    axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
    if drawn:
        _legend(axes)
    seeds = max((len(report.of(method)) for method in report.methods), default=0)
    note = "validation rows alone, the table scores more text"
    _footnote(axes, f"mean over {seeds} seeds, band ± one standard error; {note}")
    return drawn > 0


def _over_nfe(axes: Any, report: CompareReport) -> bool:
    """Quality over network evaluations, with real text as the line to reach."""
    frontier, reference = _with_text(report), report.reference
    if not frontier:
        return False
    for method in report.methods:
        some = _sorted([one for one in frontier if one["method"] == method])
        x, y = [one["nfe"].value for one in some], [one["judge_bits_per_byte"].value for one in some]
        error = [one["judge_bits_per_byte"].error or 0.0 for one in some]
        if x:
            look = _look(report, method)
            axes.errorbar(x, y, yerr=error, fmt="none", capsize=3, elinewidth=1.2, ecolor=look["color"])
            axes.plot(x, y, markersize=6, **look)
    _real_line(axes, reference)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title("Sample quality over network evaluations")
    axes.set_xlabel("network evaluations per sample (NFE)")
    axes.set_ylabel("bits per byte under the n-gram judge")
    _legend(axes)
    _footnote(
        axes, "below real text is not better: read it with the diversity; bars are ± one standard error over seeds"
    )
    return True


def _frontier(axes: Any, report: CompareReport) -> bool:
    """Quality over diversity: each curve follows the number of steps (larger = more); real text is the target."""
    some, reference = _with_text(report), report.reference
    if not some:
        return False
    for method in report.methods:
        points = _sorted([one for one in some if one["method"] == method])
        x, y = [one["entropy"].value for one in points], [one["judge_bits_per_byte"].value for one in points]
        errors = [[one[m].error or 0.0 for one in points] for m in ("entropy", "judge_bits_per_byte")]
        if not points:
            continue
        look = _look(report, method)
        axes.errorbar(x, y, xerr=errors[0], yerr=errors[1], fmt="none", elinewidth=1.2, ecolor=look["color"])
        axes.plot(x, y, linewidth=1.4, color=look["color"], alpha=0.7)
        axes.plot([], [], markersize=7, **look)  # for the legend: the points themselves differ in size
        for place, size in enumerate(range(4, 4 + 3 * len(points), 3)):
            axes.plot(x[place], y[place], look["marker"], color=look["color"], markersize=min(size, 14))
    axes.plot(
        [reference["entropy"]], [reference["judge_bits_per_byte"]], "*", markersize=17, color="#222222",
        label="real text", zorder=5,
    )  # fmt: skip
    axes.set_title("Sample quality beside diversity")
    axes.set_xlabel("token entropy within a sample, bits (more = more varied)")
    axes.set_ylabel("bits per byte under the n-gram judge")
    _legend(axes)
    _footnote(
        axes,
        "larger markers: more network evaluations; the star is the target, not a limit; bars ± one standard error",
    )
    return True


def _with_text(report: CompareReport) -> list[dict[str, Any]]:
    """Return the points that have a place: those at which some sample of the method was not empty."""
    measures = ("judge_bits_per_byte", "entropy")
    return [one for one in report.frontier() if all(one[measure].value is not None for measure in measures)]


def _sorted(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(points, key=lambda one: one["steps"])


def _legend(axes: Any) -> None:
    """Name the curves beside the picture, where they hide nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _real_line(axes: Any, reference: Any) -> None:
    value = reference["judge_bits_per_byte"]
    if value is not None:
        axes.axhline(value, color="#222222", linewidth=1.2, linestyle=(0, (4, 3)), label="real text")


def _footnote(axes: Any, text: str) -> None:
    axes.annotate(text, (0, 0), xytext=(0, -44), xycoords="axes fraction", textcoords="offset points",
                  fontsize=8.5, color="#777777")  # fmt: skip
