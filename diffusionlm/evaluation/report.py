"""A likelihood report as a table for people and as one line of JSON for programs.

Both are products of a command and go to stdout. The table ends in the one sentence that says what the number is and is
not; the JSON line holds every field of the report, of the baselines and of each source's report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diffusionlm.evaluation.baselines import BaselineReport
from diffusionlm.evaluation.sources import SourceReport
from diffusionlm.evaluation.summary import LikelihoodReport

if TYPE_CHECKING:
    from rich.table import Table

_UNIT = {
    "document": "over documents",
    "window": "over windows (few documents)",
    "draw": "over noise draws (this text only)",
    "none": "",
}

BOUND_NAMES = {"nelbo": "The negative ELBO", "gkl": "The generalised KL of discrete flow matching"}


def to_json(
    report: LikelihoodReport,
    baselines: BaselineReport | None = None,
    sources: Sequence[SourceReport] = (),
    **context: str | int | float,
) -> str:
    """Return one line of JSON.

    Args:
        report: The likelihood; a value that is not finite becomes null.
        baselines: What the baselines need, under the key ``baselines``.
        sources: Of a mixture each source's report, a list under the key ``sources``.
        context: Further keys, for example the checkpoint's name.
    """
    needed = None if baselines is None else asdict(baselines)
    body = {**asdict(report), "baselines": needed, "sources": [source.record() for source in sources]}
    return json.dumps({**context, **_finite(body)}, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return the value, with ``None`` in place of every number that JSON cannot say (a diverged model's)."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_error(value: float, error: float | None, digits: int = 4) -> str:
    """Return "value ± error", or the value alone where there is no error to state.

    Example: ``with_error(2.98768, 0.0123)`` → ``2.9877 ± 0.0123``.
    """
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def reading(report: LikelihoodReport) -> str:
    """Return the one sentence that says what the numbers are."""
    if report.error_unit == "none":
        error = "one window and one draw give no standard error, take more draws"
    else:
        error = f"± is one standard error {_UNIT[report.error_unit]}"
    if report.bound == "exact":
        return f"The negative log-likelihood itself, each window scored from its own beginning; {error}."
    slack = "" if report.bound == "tight" else ", a loose one: not comparable with a tight bound"
    return (
        f"{BOUND_NAMES[report.bound_name]}: an upper bound on the negative log-likelihood given the window "
        f"lengths{slack}, averaged over {report.draws} noise level{'s' * (report.draws > 1)} per window; {error}."
    )


def to_table(
    report: LikelihoodReport, baselines: BaselineReport | None = None, sources: Sequence[SourceReport] = ()
) -> Table:
    """Return a Rich table of the report, each source, the baselines with the gain over each, and the reading."""
    from rich.table import Table

    table = Table(
        title=f"Likelihood: {report.bound} bound ({report.bound_name})",
        caption=reading(report),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("model against it", justify="right")
    table.add_row("bits per byte", with_error(report.bits_per_byte, report.bits_per_byte_error))
    table.add_row("bits per token", with_error(report.bits_per_token, report.bits_per_token_error))
    table.add_row("nats per token", with_error(report.nats_per_token, report.nats_per_token_error))
    if report.noise_error is not None:
        table.add_row("  nats per token, error from the noise alone", f"± {report.noise_error:.4f}")
    if sources:
        table.add_section()
    for source in sources:
        one = source.likelihood
        table.add_row(f"source {source.number}, bits per byte", with_error(one.bits_per_byte, one.bits_per_byte_error))
    if baselines is not None:
        table.add_section()
        for name, bits in baseline_rows(baselines):
            table.add_row(f"{name}, bits per byte", f"{bits:.4f}", f"{100 * (report.bits_per_byte / bits - 1):+.1f} %")
    table.add_section()
    table.add_row("documents, windows", f"{report.documents:,}, {report.windows:,}")
    table.add_row("tokens, bytes", f"{report.tokens:,}, {report.bytes:,}")
    table.add_row("network evaluations", f"{report.network_evaluations:,}")
    return table


def baseline_rows(baselines: BaselineReport) -> list[tuple[str, float]]:
    """Return (name, bits per byte) of every baseline there is, weakest first."""
    rows = [("byte uniform", baselines.uniform), ("byte unigram", baselines.unigram), ("byte bigram", baselines.bigram)]
    return rows if baselines.token_unigram is None else [*rows, ("token unigram", baselines.token_unigram)]
