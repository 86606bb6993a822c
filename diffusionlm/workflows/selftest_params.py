"""The configuration of ``flowlm selftest``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from diffusionlm.workflows.command import MOST_THREADS, CommandParams


class SelftestParams(CommandParams):
    """Hold every registered method against exact answers on tiny joints."""

    command: ClassVar[str] = "selftest"

    processes: tuple[str, ...] = ()
    """Processes to test; none = all of them."""
    samples: int = Field(default=12_000, ge=1000, le=10_000_000)
    """Samples for each sampler; the accuracy of its total variation grows with their root."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """CPU threads of torch; 0 = torch's own choice."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: a line per method, or one JSON object."""
