"""Every change that made a text: position, old and new token, confidence. Replayed from the start it gives the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from diffusionlm.lazy import torch
from diffusionlm.sampling import TraceStep

if TYPE_CHECKING:
    from diffusionlm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Change:
    """One token replaced by another.

    Attributes:
        step: The step of the loop, from 0; several changes share one.
        position: The position in the canvas, the prompt counted.
        old, new: The tokens; an id that the tokenizer does not know is the mask token.
        confidence: The unfiltered probability of the new token; None where the sampler has none.
    """

    step: int
    position: int
    old: int
    new: int
    confidence: float | None


@dataclass(frozen=True)
class Trace:
    """The course of one sample.

    Attributes:
        start: The canvas before the first step.
        changes: In order.
    """

    start: tuple[int, ...]
    changes: tuple[Change, ...]

    def replay(self) -> list[int]:
        """Return the canvas after the last change."""
        ids = list(self.start)
        for change in self.changes:
            assert ids[change.position] == change.old, (change, ids[change.position])
            ids[change.position] = change.new
        return ids

    def records(self, sample: int, tokenizer: Tokenizer) -> Iterator[dict[str, Any]]:
        """Yield JSON objects: the start, then every change with the tokens' texts, null where there is none."""
        yield {"sample": sample, "step": -1, "start": list(self.start), "texts": _texts(self.start, tokenizer)}
        for change in self.changes:
            old, new = _texts((change.old, change.new), tokenizer)
            yield {"sample": sample, **asdict(change), "old_text": old, "new_text": new}


def traces_of(
    start: torch.Tensor, steps: Sequence[TraceStep], samples: Sequence[int], lengths: Sequence[int]
) -> list[Trace]:
    """Return the trace of each row of a batch.

    Args:
        start: (B, T) int64, the canvases before the first step.
        steps: The changes of every step, over all rows.
        samples, lengths: Each row's sample index and canvas length.
    """
    changes: dict[int, list[Change]] = {sample: [] for sample in samples}
    for step in steps:
        columns = (step.sample, step.position, step.old, step.new, step.confidence)
        for sample, position, old, new, confidence in zip(*(column.tolist() for column in columns)):
            known = None if confidence != confidence else confidence
            changes[sample].append(Change(step.step, position, old, new, known))
    return [
        Trace(tuple(ids[:length]), tuple(changes[sample]))
        for ids, sample, length in zip(start.tolist(), samples, lengths)
    ]


def _texts(ids: Sequence[int], tokenizer: Tokenizer) -> list[str | None]:
    """Return each token's text; a part of a character shows as �, and the mask token as None."""
    return [tokenizer.token_bytes(i).decode("utf-8", "replace") if i < tokenizer.vocab_size else None for i in ids]
