"""The configuration of ``flowlm methods``."""

from __future__ import annotations

from typing import ClassVar, Literal

from diffusionlm.workflows.command import CommandParams


class MethodsParams(CommandParams):
    """List every registered process, objective and sampler: what they are and what fits what."""

    command: ClassVar[str] = "methods"

    format: Literal["text", "json", "markdown"] = "text"
    """What goes to stdout: tables, one JSON object, or the Markdown of docs/METHODS.md."""
    write: str | None = None
    """A Markdown file whose part between the two markers is replaced by the tables."""
