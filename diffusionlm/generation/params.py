"""Parameters of generation and infilling: what to sample with, how much, and how it is batched."""

from __future__ import annotations

from pydantic import Field

from diffusionlm.sampling import SAMPLERS, Filters


class SamplingParams(Filters):
    """What continuation and infilling share."""

    steps: int = Field(default=64, ge=1)
    """Steps of a canvas: the most network evaluations it takes. More steps than tokens cost nothing."""
    sampler: SAMPLERS.union(default="ancestral") = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=SAMPLERS["ancestral"].Params, validate_default=True
    )
    """The rule that turns noise into text."""
    block_length: int | None = Field(default=None, ge=1)
    """Tokens per semi-autoregressive block, finished left to right; unset = all at once."""
    samples: int = Field(default=1, ge=1)
    """Samples per prompt."""
    batch_size: int = Field(default=16, ge=1)
    """Canvases sampled together. It changes the speed, never a sample."""
    seed: int = 0
    """Names the random streams; sample i of seed s is always the same text."""


class GenerationParams(SamplingParams):
    """Continue prompts."""

    length: int | None = Field(default=None, ge=1)
    """Tokens to generate after the prompt, the end-of-text token included; unset = as many as the context holds."""


class InfillingParams(SamplingParams):
    """Fill the holes of texts."""

    whole: bool = False
    """The text is a whole document: tell the model that it ends where it ends."""
