"""``flowlm inspect``: what a checkpoint says about itself, without building its network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from diffusionlm.checkpoint import load_checkpoint, resolve_checkpoint
from diffusionlm.workflows.params import InspectParams


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds.

    Attributes:
        path: Its folder.
        bytes: Size of all its files.
        skipped: Newer checkpoints of the run that are damaged, one line each.
        averaged: Whether it has averaged weights.
        contents: Its state (step, counters, best score, provenance) and its parameters, as JSON values.
    """

    path: str
    bytes: int
    skipped: tuple[str, ...]
    averaged: bool
    contents: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        return asdict(self)

    def report(self) -> str:
        """Return everything as lines of a key and a value."""
        head = {"path": self.path, "bytes": self.bytes, "averaged weights": "yes" if self.averaged else "no"}
        lines = [*_lines(head), *_lines(self.contents)]
        return "\n".join([*lines, *(f"damaged: {reason}" for reason in self.skipped)])


def inspect(params: InspectParams) -> Inspection:
    """Open a checkpoint and return what it holds.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    resolved = resolve_checkpoint(params.checkpoint)
    checkpoint = load_checkpoint(resolved.path)
    return Inspection(
        path=str(checkpoint.path),
        bytes=sum((checkpoint.path / name).stat().st_size for name in checkpoint.files),
        skipped=tuple(skipped.reason for skipped in resolved.skipped),
        averaged=checkpoint.has_ema,
        contents={
            "state": asdict(checkpoint.state),
            "model": checkpoint.model.model_dump(mode="json", exclude_none=True),
            "vocabulary": asdict(checkpoint.vocabulary),
            "process": checkpoint.process.model_dump(mode="json", exclude_none=True),
            "objective": dict(checkpoint.objective),
            "data": dict(checkpoint.data),
            "tokenizer": {"fingerprint": checkpoint.tokenizer_fingerprint},
        },
    )


def _lines(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield "dotted key = value" for every leaf that has a value."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key} = {value}"
