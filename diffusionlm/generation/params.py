"""Parameters of generation and infilling: what to sample with, how much, and how it is batched."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from diffusionlm.errors import PairingError
from diffusionlm.generation.self_correction import SelfCorrectionParams
from diffusionlm.process import Process
from diffusionlm.registry import params_name
from diffusionlm.sampling import SAMPLERS, Filters, Sampler
from diffusionlm.sampling.guidance import check_guidance

MOST_STEPS = MOST_SAMPLES = 1_000_000
"""Numbers beyond these are slips of the hand: nobody would wait for them."""


class SamplingParams(Filters):
    """What continuation and infilling share."""

    steps: int = Field(default=64, ge=1, le=MOST_STEPS)
    """Steps of a canvas: the most network evaluations it takes. With mask noise more steps than tokens cost nothing;
    first_hitting takes one evaluation per token whatever it is."""
    sampler: SAMPLERS.union() | None = None  # pyright: ignore[reportInvalidTypeForm]
    """The rule that turns noise into text; unset = the one that belongs to the model's process."""
    block_length: int | None = Field(default=None, ge=1)
    """Tokens per semi-autoregressive block, finished left to right; unset = all at once, or the process's own."""
    cache: bool = True
    """Keep keys and values of finished text where the process allows it (ar, block): the same samples, sooner."""
    guidance: float = Field(default=0.0, ge=0.0, le=1000.0)
    """w of classifier-free guidance, away from what is written without the given tokens; 0 = none. Doubles the cost."""
    self_correction: SelfCorrectionParams | None = None
    """Rounds in which the finished text is corrected; unset = none."""
    samples: int = Field(default=1, ge=1, le=MOST_SAMPLES)
    """Samples per prompt."""
    batch_size: int = Field(default=16, ge=1)
    """Canvases sampled together. It changes the speed, never a sample."""
    seed: int = 0
    """Names the random streams; sample i of seed s is always the same text."""

    @field_validator("sampler", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """An empty table names nothing."""
        return None if value == {} else value

    def check(self, process: Process) -> None:
        """Refuse blocks, guidance or a correction that this process cannot have.

        Raises:
            PairingError: In one line.
        """
        self.check_blocks(type(process))
        if self.guidance > 0.0:
            check_guidance(process, self.guidance)
        if self.self_correction is not None:
            self.self_correction.editor(process)

    def check_blocks(self, process: type[Process]) -> None:
        """Refuse a block length beside a process with blocks of its own.

        Raises:
            PairingError: In one line.
        """
        if self.block_length is not None and process.blocks is not Process.blocks:
            raise PairingError(
                f"block_length = {self.block_length} was given, but process {params_name(process.Params)!r} has blocks "
                "of its own; unset block_length"
            )

    def build_sampler(self, process: Process) -> Sampler:
        """Return the sampler for a process.

        Raises:
            PairingError: The one that is named does not fit it.
        """
        filters = Filters(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        params = SAMPLERS[process.sampler].Params() if self.sampler is None else self.sampler
        return SAMPLERS.build(params, process, filters)


class GenerationParams(SamplingParams):
    """Continue prompts."""

    length: int | None = Field(default=None, ge=1)
    """Tokens to generate after the prompt, the end-of-text token included; unset = as many as the context holds."""


class InfillingParams(SamplingParams):
    """Fill the holes of texts."""

    whole: bool = False
    """The text is a whole document: tell the model that it ends where it ends."""
