"""The configurations of the benches of training, of sampling, of the tokenizer and of the data loader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from diffusionlm.data import SOURCES
from diffusionlm.generation.params import GenerationParams
from diffusionlm.model.params import TransformerParams
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import OPTIMIZERS
from diffusionlm.paths import UserPath
from diffusionlm.process import PROCESSES
from diffusionlm.registry import params_name
from diffusionlm.sampling import SAMPLERS
from diffusionlm.workflows.command import (
    MOST_THREADS,
    AnyObjective,
    AnyOptimizer,
    AnyProcess,
    AnySource,
    CommandParams,
    Device,
    Precision,
)

if TYPE_CHECKING:
    AnySampler: TypeAlias = Any
else:
    AnySampler = SAMPLERS.union("ancestral")


class BenchTrainParams(CommandParams):
    """Time training steps on random tokens, next to a rival in the same process."""

    command: ClassVar[str] = "bench-train"

    model: TransformerParams = TransformerParams()
    """The network; the defaults are the shape of the published rows."""
    vocabulary: int = Field(default=8192, gt=1)
    """Tokens of the vocabulary, the mask token not counted."""
    batch_size: int = Field(default=16, gt=0)
    """Rows per step, each of the model's context length."""
    process: AnyProcess = PROCESSES["mask"].Params()
    """The noising process."""
    objective: AnyObjective = OBJECTIVES["nelbo"].Params()
    """What is minimised."""
    optimizer: AnyOptimizer = OPTIMIZERS["adamw"].Params()
    """How the weights move."""
    precision: Precision = "fp32"
    """Arithmetic of the forward and backward pass."""
    compile: bool = False
    """Compile the model with torch.compile."""
    rival: bool = True
    """Time a transformers-based masked-diffusion step of the same shape as well (needs the dev group)."""
    device: Device = "auto"
    """Where to compute; auto = CUDA, else MPS, else CPU."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """CPU threads of torch; 0 = torch's own choice."""
    warmup: int = Field(default=3, ge=0)
    """Steps before timing starts."""
    repeats: int = Field(default=10, gt=0)
    """Timed steps; p20, p50 and p80 are over these."""
    seed: int = Field(default=0, ge=0)
    """Seed of the weights, the tokens and the noise."""
    output: UserPath | None = None
    """CSV file to append the rows to; unset = only print them."""

    def output_folder(self) -> Path | None:
        """Return the folder of the CSV file."""
        return None if self.output is None else self.output.parent


class BenchInferParams(CommandParams):
    """Time sampling, from a checkpoint or from a fresh network of a given shape."""

    command: ClassVar[str] = "bench-infer"

    checkpoint: str | None = None
    """A checkpoint or run folder; unset = a network of ``model``'s shape with fresh weights."""
    model: TransformerParams = TransformerParams()
    """The shape where there is no checkpoint."""
    vocabulary: int = Field(default=8192, gt=1)
    """Tokens of the vocabulary where there is no checkpoint."""
    process: AnyProcess = PROCESSES["mask"].Params()
    """The noising process where there is no checkpoint."""
    generation: GenerationParams = GenerationParams()
    """Length, steps, sampler, seed; canvases are timed alone and ``batch_size`` together, ``samples`` is not used."""
    samplers: tuple[AnySampler, ...] = ()
    """Samplers to time one after the other; none = ``generation.sampler``."""
    precision: Precision = "fp32"
    """Arithmetic of the network."""
    device: Device = "auto"
    """Where to compute; auto = CUDA, else MPS, else CPU."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """CPU threads of torch; 0 = torch's own choice."""
    warmup: int = Field(default=1, ge=0)
    """Rounds before timing starts."""
    repeats: int = Field(default=5, gt=0)
    """Timed rounds; p20, p50 and p80 are over these."""
    output: UserPath | None = None
    """CSV file to append the rows to; unset = only print them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a sampler that the process does not fit; a checkpoint's process is known when it is opened."""
        if self.checkpoint is None:
            process = PROCESSES[params_name(type(self.process))]
            for sampler in (*self.samplers, *([self.generation.sampler] if self.generation.sampler else [])):
                SAMPLERS[params_name(type(sampler))].check(process)
        return self

    def output_folder(self) -> Path | None:
        """Return the folder of the CSV file."""
        return None if self.output is None else self.output.parent


class BenchTokenizerParams(CommandParams):
    """Train, encode and decode next to other tokenizer libraries; their ids are compared before their speed."""

    command: ClassVar[str] = "bench-tokenizer"

    source: AnySource = SOURCES["python-stdlib"].Params()
    """The text."""
    vocab_size: int = Field(default=16384, gt=257)
    """All ids of the vocabulary: 256 bytes, merges and <|endoftext|>."""
    rivals: tuple[Literal["tokenizers", "tiktoken", "rustbpe"], ...] = ("tokenizers", "tiktoken", "rustbpe")
    """Libraries to compare with; one that is not installed is left out, and that is said."""
    warmup: int = Field(default=1, ge=0)
    """Rounds of each task before timing starts; the first one compiles, or loads what is compiled."""
    repeats: int = Field(default=5, gt=0)
    """Timed rounds of each task; p20, p50 and p80 are over these."""
    cold_starts: int = Field(default=1, ge=0)
    """Times that everything of ours is compiled anew, from an empty cache; each takes many seconds."""
    output: UserPath | None = None
    """CSV file to append the rows to; unset = only print them."""

    def output_folder(self) -> Path | None:
        """Return the folder of the CSV file."""
        return None if self.output is None else self.output.parent


class BenchDataParams(CommandParams):
    """Time the loader: rows of shards, made by one thread ahead of a stub training step."""

    command: ClassVar[str] = "bench-data"

    shards: UserPath | None = None
    """A folder of shards to read; unset = random tokens in a temporary folder."""
    tokens: int = Field(default=100_000_000, gt=0)
    """Random tokens, two bytes each; 500000000 are a gigabyte."""
    document_tokens: int = Field(default=600, gt=0)
    """Mean length of the random documents."""
    shard_tokens: int = Field(default=1 << 24, gt=0)
    """Random tokens in a shard."""
    context_length: int = Field(default=1024, gt=0)
    """Tokens of a row."""
    batch_size: int = Field(default=64, gt=0)
    """Rows of a step."""
    prefetch: int = Field(default=2, ge=0)
    """Steps prepared ahead by the thread; 0 uses none."""
    step_ms: float = Field(default=0.0, ge=0.0)
    """How long a step takes itself, besides reading its ids; 0 finds the loader's limit."""
    steps: int = Field(default=200, gt=0)
    """Steps of a round."""
    threads: int = Field(default=1, ge=0, le=MOST_THREADS)
    """CPU threads of torch; 0 = torch's own choice."""
    warmup: int = Field(default=1, ge=0)
    """Rounds before timing starts."""
    repeats: int = Field(default=5, gt=0)
    """Timed rounds; p20, p50 and p80 are over these."""
    seed: int = Field(default=0, ge=0)
    """Seed of the tokens and of the order."""
    output: UserPath | None = None
    """CSV file to append the rows to; unset = only print them."""

    @model_validator(mode="after")
    def _fills_a_row(self) -> Self:
        # An epoch of no whole row after the other would be passed in search of one.
        if self.shards is None and self.tokens < 2 * self.context_length:
            raise ValueError(
                f"tokens: {self.tokens} fill no two rows of context_length {self.context_length}; set "
                f"{2 * self.context_length} or more"
            )
        return self

    def output_folder(self) -> Path | None:
        """Return the folder of the CSV file."""
        return None if self.output is None else self.output.parent
