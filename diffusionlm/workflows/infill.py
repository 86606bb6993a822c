"""``flowlm infill``: fill the holes of texts; everything around them is kept to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from diffusionlm.generation import Infilled
from diffusionlm.generation import infill as fill
from diffusionlm.workflows.batch_by_batch import batch_by_batch
from diffusionlm.workflows.infer import read_text
from diffusionlm.workflows.opened import open_checkpoint
from diffusionlm.workflows.params import InfillParams
from diffusionlm.workflows.talk import plural


@dataclass(frozen=True)
class FilledText:
    """One filled text on its way out.

    Attributes:
        given: The text with its holes.
        number, of: Which sample of how many, over all texts.
        filled: The sample.
    """

    given: str
    number: int
    of: int
    filled: Infilled

    @property
    def text(self) -> str:
        """The whole text, holes filled."""
        return self.filled.text

    def headline(self) -> str:
        """Return one line about how it was made."""
        made = self.filled
        tokens = sum(len(hole.ids) for hole in made.holes)
        return (
            f"sample {self.number + 1} of {self.of}: {plural(tokens, 'token')} in {plural(len(made.holes), 'hole')}, "
            f"{plural(made.nfe, 'network evaluation')}, {made.tokens_per_second:.1f} tokens/s"
        )

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        made = asdict(replace(self.filled, trace=None))
        made.pop("trace")
        return {"sample": self.number, "given": self.given, **made}


def infill(params: InfillParams) -> Iterator[FilledText]:
    """Yield every filled text as its batch is finished.

    Raises:
        FlowLMError: The checkpoint is missing or damaged, or a text has no hole or does not fit the context.
    """
    texts = [*params.texts]
    if params.text_file is not None:
        texts.append(read_text(params.text_file))
    opened = open_checkpoint(params)
    total = len(texts) * params.generation.samples
    for number, given, one in batch_by_batch(fill, opened, texts, params.generation, params.watch, params.trace):
        yield FilledText(given, number, total, one)
