"""The configurations of the commands that look at finished shards: ``flowlm data verify``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from diffusionlm.workflows.command import CommandParams


class DataVerifyParams(CommandParams):
    """Check token shards, all of them to the last bit, and that one tokenizer made them."""

    command: ClassVar[str] = "data-verify"

    folder: Path
    """The folder that make-data wrote, or one side of it."""
    checkpoint: str | None = None
    """A checkpoint or a run folder, whose tokenizer the shards' must be."""
    tokenizer: Path | None = None
    """A tokenizer's folder or tokenizer.json, which the shards' must be."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: lines to read, or one JSON object."""
