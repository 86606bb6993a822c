"""Corruption modes of training: an unmaskable prefix, a cut suffix, noise in spans, each with a probability over steps.

The mechanism of CoDA's progressive masking, for any process, document by document:

    prefix   the first n of a document's L editable tokens are given: never noised, never scored
    suffix   only the first n are there: what follows is padding
    spans    noise comes in runs of b tokens, and every token is still noised with its own probability

n is uniform on 1 … L − 1. Spans change one thing: the uniform number u_i < 1 − κ that decides on token i. With one
number per *window* of b tokens, windows laid out from b − 1 tokens before the document so that b of them cover every
token, edges included,

    u_i = 1 − (1 − min over the b windows w that cover i of u_w)^b

is exactly uniform on (0, 1), and neighbours share most of their windows. A window of width b counts as noise with
probability 1 − κ^{1/b}. CoDA's own code has fewer windows at the edges, and too little noise there.
Every decision is a function of (step, document, window) alone. Evaluation never comes here. Not a bound.
Chen et al. 2025, "CoDA: Coding LM via Diffusion Adaptation", https://arxiv.org/abs/2510.03270.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator

from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process.selection import STREAM, document_counts, document_places
from diffusionlm.rng import Draws

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Step = Annotated[int, Field(ge=0)]
Length = Annotated[int, Field(ge=1, le=64)]


def _ascending(phases: tuple[tuple[int, Any], ...], what: str) -> None:
    starts = [start for start, _ in phases]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError(f"{what} must begin at increasing steps, got {starts}")


class OverSteps(Strict):
    """A probability that may change from step to step. A bare number is a constant."""

    value: Share = 0.0
    """The probability; with a ramp, where it ends."""
    ramp_steps: int = Field(default=0, ge=0)
    """Steps over which it rises from 0 to value on a straight line; 0 = no ramp."""
    phases: tuple[tuple[Step, Share], ...] = ()
    """[step, probability] pairs: from that step on, that probability; before the first one, value."""

    @model_validator(mode="before")
    @classmethod
    def _constant(cls, given: Any) -> Any:
        return {"value": given} if isinstance(given, int | float) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.phases and self.ramp_steps:
            raise ValueError("ramp_steps and phases exclude each other; set one of them")
        _ascending(self.phases, "phases")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, handler(core)]}

    @property
    def never(self) -> bool:
        """Whether it is 0 at every step."""
        return self.value == 0.0 and all(share == 0.0 for _, share in self.phases)

    def at(self, step: int) -> float:
        """Return the probability at an optimizer step, counted from 0."""
        if self.ramp_steps:
            return self.value * min(1.0, step / self.ramp_steps)
        return ([self.value] + [share for start, share in self.phases if start <= step])[-1]


class MaskingParams(Strict):
    """How training picks what is noised, beyond the process: the probability of each mode, per document."""

    prefix: OverSteps = OverSteps()
    """Probability that the first n of a document's L editable tokens are given, n uniform on 1 … L − 1."""
    suffix: OverSteps = OverSteps()
    """Probability, where no prefix was drawn, that a document is cut after its first n editable tokens."""
    spans: OverSteps = OverSteps()
    """Probability that a document is noised in spans; each token's own probability stays what it was."""
    span_lengths: tuple[Length, ...] = Field(default=(2, 4, 8), min_length=1)
    """Lengths of the spans, one of them drawn per document with equal chances."""
    span_length_phases: tuple[tuple[Step, tuple[Length, ...]], ...] = ()
    """[step, lengths] pairs: from that step on, those lengths; before the first one, span_lengths."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending(self.span_length_phases, "span_length_phases")
        if not all(lengths for _, lengths in self.span_length_phases):
            raise ValueError("span_length_phases: each phase needs at least one length")
        return self

    @property
    def never(self) -> bool:
        """Whether nothing is changed at any step."""
        return self.prefix.never and self.suffix.never and self.spans.never

    def lengths_at(self, step: int) -> tuple[int, ...]:
        """Return the lengths of spans at an optimizer step, counted from 0."""
        return ([self.span_lengths] + [lengths for start, lengths in self.span_length_phases if start <= step])[-1]


@dataclass(frozen=True)
class SpanDraws(Draws):
    """Random numbers of which those that choose positions are shared within spans.

    Attributes:
        length: (B, T) int64, b of each site's document; 1 = each position alone, with the numbers of ``Draws``.
        longest: The largest b.
    """

    length: torch.Tensor
    longest: int

    def uniform(self, stream: str) -> torch.Tensor:
        """Return (B, T) float64 uniforms in (0, 1); see the module's docstring for the stream that chooses positions.

        Window w of a document begins at position w, which is negative for the b − 1 that begin before it.
        """
        alone = Draws.uniform(self, stream)
        if stream != STREAM:
            return alone
        least = alone
        for back in range(1, self.longest):
            begins = replace(self, position=self.position - back)
            covers = back < self.length
            least = torch.where(covers, torch.minimum(least, Draws.uniform(begins, stream)), least)
        # 1 − (1 − u)^b; the logarithm keeps small numbers apart.
        joint = -torch.expm1(self.length * torch.log1p(-least))
        return torch.where(self.length > 1, joint, alone)


def apply_masking(
    params: MaskingParams, segments: torch.Tensor, frozen: torch.Tensor, draws: Draws
) -> tuple[torch.Tensor, torch.Tensor, Draws]:
    """Return segments, frozen positions and random numbers with the modes of a step applied.

    Args:
        params: The modes.
        segments: (B, T) int64, 0 = padding.
        frozen: (B, T) bool.
        draws: Random numbers of the batch; their step is the optimizer step.
    """
    prefix, suffix, spans = (mode.at(draws.step) for mode in (params.prefix, params.suffix, params.spans))
    once = replace(draws, position=torch.zeros_like(draws.position))  # one number per document window
    if prefix > 0.0 or suffix > 0.0:
        editable = (segments > 0) & ~frozen
        length, place = document_counts(editable, segments), document_places(editable, segments)
        n = 1 + (once.uniform("masking/place") * (length - 1)).long()
        given = (length > 1) & (once.uniform("masking/prefix") < prefix)
        cut = (length > 1) & ~given & (once.uniform("masking/suffix") < suffix)
        frozen = frozen | (given & (place < n))
        segments = torch.where(cut & (place >= n), 0, segments)
    if spans > 0.0:
        lengths, chosen = params.lengths_at(draws.step), once.uniform("masking/spans") < spans
        which = (once.uniform("masking/span-length") * len(lengths)).long()
        length = torch.ones_like(which)
        for index, size in enumerate(lengths):
            length = torch.where(chosen & (which == index), size, length)
        draws = SpanDraws(**vars(draws), length=length, longest=max(lengths))
    return segments, frozen, draws
