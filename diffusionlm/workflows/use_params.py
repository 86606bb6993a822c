"""The configurations of the commands that open a trained model: infer, infill, eval, inspect.

None has a model table: a checkpoint describes itself.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from diffusionlm.generation.params import GenerationParams, InfillingParams
from diffusionlm.params import Strict
from diffusionlm.workflows.command import MOST_THREADS, AnySource, CommandParams, Device, Precision


class CheckpointParams(CommandParams):
    """What every command that opens a trained model shares. The model itself is described by its checkpoint."""

    checkpoint: str = Field(min_length=1)
    """A checkpoint folder, or a run folder: then its newest good checkpoint, or with @best after it the best one."""
    weights: Literal["ema", "model"] | None = None
    """The averaged weights or those of the last step; unset = the averaged ones where the run kept them."""
    read_as: str | None = None
    """Another process that the network was trained on and is to be read as: "ar" for objective "joint"."""
    device: Device = "auto"
    """Where to compute; auto = CUDA, else MPS, else CPU."""
    precision: Precision | Literal["fp64"] = "fp32"
    """Arithmetic of the network. In fp64 a sample or score is the same in any batch, to the last id or digit."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """CPU threads of torch; 0 = torch's own choice."""


class SampleOutputParams(CheckpointParams):
    """What infer and infill share: the form of the output."""

    format: Literal["text", "json"] = "text"
    """What goes to stdout: the texts, or one JSON object per sample and line."""
    watch: bool = False
    """Show the canvas in the terminal while it fills."""
    trace: str | None = None
    """A file for every change of every step, as JSON lines: sample, step, position, old, new, confidence, texts."""


class InferParams(SampleOutputParams):
    """Generate text: continuations of prompts, or text from nothing."""

    command: ClassVar[str] = "infer"

    generation: GenerationParams = GenerationParams()
    """Length, steps, sampler, temperature, number of samples."""
    prompts: tuple[str, ...] = ()
    """Texts to continue; none at all means from nothing."""
    prompts_file: str | None = None
    """More prompts: one per line, or a .jsonl file with a "prompt" in each object; "-" reads lines from stdin."""


class InfillParams(SampleOutputParams):
    """Fill holes in texts; what surrounds them is kept to the byte."""

    command: ClassVar[str] = "infill"

    generation: InfillingParams = InfillingParams()
    """Steps, sampler, temperature, number of samples."""
    texts: tuple[str, ...] = ()
    """Texts with holes; a hole of 16 tokens is written <|hole:16|>."""
    text_file: str | None = None
    """A file that holds one text with holes; "-" reads it from stdin."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.texts and self.text_file is None:
            raise ValueError(
                "no text to fill; give texts, or a file in text_file (on the command line: TEXT or --file)"
            )
        return self


class ScoringParams(Strict):
    """How a likelihood is estimated, for eval and for a call from Python."""

    draws: int = Field(default=8, ge=1)
    """Noise levels per row, on a stratified grid; from two on, the error from the noise alone is reported as well."""
    batch_size: int = Field(default=32, gt=0)
    """Rows per forward pass; the value does not depend on it."""
    seed: int = Field(default=0, ge=0)
    """Seed of the noise."""


class EvalParams(ScoringParams, CheckpointParams):
    """Bound the likelihood of a text under a checkpoint."""

    command: ClassVar[str] = "eval"

    source: AnySource | None = None
    """The text to score; unset = the held-out split of the checkpoint's own data."""
    documents: int | None = Field(default=None, gt=0)
    """Documents to score, the first of the text; unset = all."""
    estimator: Literal["exact_count", "bernoulli"] = "exact_count"
    """Noise exactly n of a document's tokens (n uniform, less variance), or each token alone (same mean)."""
    bound: Literal["nelbo", "gkl"] = "nelbo"
    """The negative ELBO, tight; or discrete flow matching's generalised KL, loose where noise can look like text."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: a table, or one JSON object."""


class InspectParams(CommandParams):
    """Say what a checkpoint holds. No network is built and no weight is read, but every file is verified."""

    command: ClassVar[str] = "inspect"

    checkpoint: str = Field(min_length=1)
    """A checkpoint folder, or a run folder: then its newest good checkpoint, or with @best after it the best one."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: lines to read, or one JSON object."""
