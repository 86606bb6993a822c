"""What ``flowlm selftest`` hands back: a line for each method, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from diffusionlm.workflows.tables import to_text


class CheckLine(Protocol):
    """What the report needs of a check; see ``diffusionlm.workflows.selftest.Check``."""

    @property
    def kind(self) -> str: ...
    @property
    def process(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def exact(self) -> float | None: ...
    @property
    def error(self) -> float | None: ...
    @property
    def ok(self) -> bool: ...
    @property
    def note(self) -> str: ...
    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        ...


@dataclass(frozen=True)
class SelftestReport:
    """Every check of a run of the suite.

    Attributes:
        checks: In the order in which they ran.
        seconds: Wall time of all.
    """

    checks: Sequence[CheckLine]
    seconds: float

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(not check.ok for check in self.checks)

    @property
    def exit_code(self) -> int:
        """1 if a check failed: a method computes something other than what it says."""
        return int(self.failed > 0)

    def record(self) -> dict[str, Any]:
        """Return every number as a JSON object."""
        checks = [check.record() for check in self.checks]
        return {"failed": self.failed, "seconds": round(self.seconds, 1), "checks": checks}

    def report(self) -> str:
        """Return a line for each method, and one for all."""
        columns = ("check", "process", "method", "claims", "value", "exact", "error", "", "")
        rows = [
            (c.kind, c.process, c.method, c.state, _number(c.value), _number(c.exact), _number(c.error),
             "FAILED" if not c.ok else "ok" if c.value is not None else "–", c.note)
            for c in self.checks
        ]  # fmt: skip
        last = (
            f"{len(rows)} checks, {self.failed} failed, {self.seconds:.0f} s; nats per sequence, total variation, or KL"
        )
        return f"{to_text(columns, rows, right=(4, 5, 6))}\n{last}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
