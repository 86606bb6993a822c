"""Parameters of training itself: budget and batch, validation, checkpoints, and samples while training.

A step is always one optimizer update, whatever the accumulation and the number of ranks; every interval counts steps.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from diffusionlm.optim import EMAParams
from diffusionlm.params import Strict


class TrainingParams(Strict):
    """The budget of a run and what one optimizer step does."""

    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps to train for. The first budget reached (steps, tokens, minutes) ends the run."""
    tokens: int | None = Field(default=None, gt=0)
    """Training tokens (editable positions, EOS included) to see."""
    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes of training; the schedule's total then follows the measured speed."""
    batch_size: int = Field(default=32, gt=0)
    """Rows per optimizer step, over all ranks and micro-batches."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Rows per forward pass on one rank; unset = the rank's whole share. The gradient does not depend on it."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest global gradient norm; 0 = no clipping."""
    ema: EMAParams = EMAParams()
    """The average of the weights, which is what gets validated, sampled and evaluated; decay = 0 keeps none."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward pass; weights and optimizer stay in fp32. auto: bf16 where it is fast."""
    compile: bool = False
    """Compile the model with torch.compile."""
    gradient_checkpointing: bool = False
    """Recompute each block's activations in the backward pass: less memory, about a third more time."""
    nonfinite: Literal["skip", "stop"] = "skip"
    """What a step with a non-finite loss or gradient does: leave the weights as they are and go on, or end the run."""
    nonfinite_limit: int = Field(default=10, gt=0)
    """Skipped steps in a row after which the run ends all the same."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is None and self.tokens is None and self.minutes is None:
            raise ValueError("no budget came; set steps, tokens or minutes")
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} is not a multiple of micro_batch_size = {self.micro_batch_size}"
            )
        return self


class ValidationParams(Strict):
    """Held-out likelihood while training: the same rows and the same noise every time, so that values compare."""

    skip: bool = False
    """No validation at all; then there is no best checkpoint either."""
    every: int = Field(default=200, gt=0)
    """Steps between two validations; one more follows the last step."""
    rows: int = Field(default=64, gt=0)
    """Held-out rows to score while training, the first of the validation split."""
    draws: int = Field(default=1, gt=0)
    """Noise levels per row."""
    final_tokens: int = Field(default=200_000, gt=0)
    """About how many held-out tokens are scored once more after the last step, next to the baselines."""
    seed: int = Field(default=0, ge=0)
    """Seed of the validation noise, a stream of its own that training never touches."""


class CheckpointingParams(Strict):
    """When a run saves, and what it keeps."""

    every: int = Field(default=500, gt=0)
    """Steps between two checkpoints; the last step, Ctrl-C and SIGTERM save as well."""
    keep: int = Field(default=3, gt=0)
    """Newest checkpoints to keep."""
    best: bool = True
    """Keep the checkpoint with the lowest validation bound too."""


class SamplesParams(Strict):
    """What is sampled while training, into samples.jsonl and the outputs that show tables."""

    every: int = Field(default=0, ge=0)
    """Steps between two rounds of samples; 0 = only after the last step."""
    prompts: tuple[str, ...] = ("",)
    """Texts to continue; the empty one means from nothing."""
    infill: tuple[str, ...] = ()
    """Texts with holes to fill; a hole of 16 tokens is written <|hole:16|>."""
