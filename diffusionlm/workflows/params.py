"""The configuration of every command, composed of the parameter classes that live beside the code they configure.

Importing this module imports neither torch nor numpy. A check here is one that spans sections; what concerns a single
section is checked where that section is defined.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from diffusionlm.data import SOURCES
from diffusionlm.data.params import DataParams
from diffusionlm.generation.params import GenerationParams
from diffusionlm.model.params import TransformerParams
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import LR_SCHEDULES, OPTIMIZERS
from diffusionlm.optim.schedule import span_steps
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES
from diffusionlm.registry import params_name
from diffusionlm.runlog.params import RunLogParams
from diffusionlm.sampling import SAMPLERS
from diffusionlm.tokenizer import TOKENIZERS
from diffusionlm.training.params import CheckpointingParams, SamplesParams, TrainingParams, ValidationParams
from diffusionlm.workflows.debug import shrink

# Any to the type checker: each union is built from its registry, so that a new method needs no change here.
AnyTokenizer: Any = TOKENIZERS.union("bpe")
AnySource: Any = SOURCES.union("python-stdlib")
AnyProcess: Any = PROCESSES.union("mask")
AnyObjective: Any = OBJECTIVES.union("nelbo")
AnyOptimizer: Any = OPTIMIZERS.union("adamw")
AnySchedule: Any = LR_SCHEDULES.union("cosine")
AnySampler: Any = SAMPLERS.union("ancestral")

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "bf16"]


class CommandParams(Strict):
    """The configuration of a command."""

    command: ClassVar[str]
    """The command's verb, as in ``flowlm train``."""

    def output_folder(self) -> Path | None:
        """Return the folder that the command writes to, if it writes any."""
        return None


class RunParams(Strict):
    """Where a run lives and what makes it repeatable."""

    name: str = Field(default="run", pattern=r"^[^/\\\s][^/\\]*$")
    """The run's name in logs; its folder is runs/<name> unless set."""
    folder: Path | None = None
    """The run folder: configuration, metrics, samples and checkpoints. It must be new or empty, or resumed."""
    resume: str = ""
    """Empty = start anew; "auto" = continue from the folder's newest good checkpoint if it has one; or a checkpoint."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random in training: initialisation, data order, noise, dropout."""
    device: Device = "auto"
    """Where to train; auto = CUDA, else MPS, else CPU."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of torch; 0 = torch's own choice."""
    deterministic: bool = False
    """Refuse kernels whose result may differ between two runs on one GPU; the CPU always repeats itself."""
    debug: bool = False
    """A run of seconds that exercises every part: budget, batch, network, tokenizer and intervals are capped."""


class TrainParams(CommandParams):
    """Everything that a training run is."""

    command: ClassVar[str] = "train"

    run: RunParams = RunParams()
    """The run itself."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """Text to ids."""
    data: DataParams = DataParams()
    """Which text, and how it becomes rows."""
    model: TransformerParams = TransformerParams()
    """The network."""
    process: AnyProcess = PROCESSES["mask"].Params()
    """The noising process."""
    objective: AnyObjective = OBJECTIVES["nelbo"].Params()
    """What is minimised."""
    optimizer: AnyOptimizer = OPTIMIZERS["adamw"].Params()
    """How the weights move."""
    lr_schedule: AnySchedule = LR_SCHEDULES["cosine"].Params()
    """How the learning rate moves."""
    training: TrainingParams
    """Budget, batch and precision."""
    validation: ValidationParams = ValidationParams()
    """Held-out likelihood while training."""
    checkpoints: CheckpointingParams = CheckpointingParams()
    """When to save and what to keep."""
    sampler: AnySampler = SAMPLERS["ancestral"].Params()
    """How samples are drawn while training and at the end."""
    samples: SamplesParams = SamplesParams()
    """Samples while training and at the end."""
    log: RunLogParams = RunLogParams()
    """What is logged, how often, and to where."""

    @model_validator(mode="before")
    @classmethod
    def _debug(cls, tables: Any) -> Any:
        return shrink(tables) if isinstance(tables, dict) else tables

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse sections that are valid alone and impossible together."""
        OBJECTIVES[params_name(type(self.objective))].check(PROCESSES[params_name(type(self.process))])
        context = self.model.context_length
        if self.samples.length is not None and self.samples.length > context:
            raise ValueError(
                f"samples.length = {self.samples.length} is longer than model.context_length = {context}; lower it"
            )
        if not self.validation.skip and not self.data.validation_fraction and self.data.validation_source is None:
            raise ValueError(
                "nothing is held out (data.validation_fraction = 0, no data.validation_source), so there is nothing to "
                "validate on; hold something out or set validation.skip = true"
            )
        self._check_warmup()
        return self

    def _check_warmup(self) -> None:
        """Refuse a warm-up longer than the run, where the run's length in steps is known."""
        steps, fields = self.training.steps, type(self.lr_schedule).model_fields
        if steps is None or "warmup_steps" not in fields:
            return
        warmup = span_steps(self.lr_schedule.warmup_steps, steps)
        if warmup > steps:
            raise ValueError(f"lr_schedule.warmup_steps = {warmup} is more than training.steps = {steps}")

    def output_folder(self) -> Path:
        """Return the run folder."""
        return self.run.folder if self.run.folder is not None else Path("runs") / self.run.name


class CheckpointParams(CommandParams):
    """What every command that opens a trained model shares. The model itself is described by its checkpoint."""

    checkpoint: Path
    """A checkpoint folder, or a run folder: then its newest good checkpoint."""
    weights: Literal["ema", "last"] = "ema"
    """The averaged weights, where the run kept them, or those of the last step."""
    device: Device = "auto"
    """Where to compute; auto = CUDA, else MPS, else CPU."""
    precision: Precision = "fp32"
    """Arithmetic of the network."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of torch; 0 = torch's own choice."""


class SampleOutputParams(CheckpointParams):
    """What infer and infill share: the sampler, its settings and the form of the output."""

    sampler: AnySampler = SAMPLERS["ancestral"].Params()
    """How a canvas of noise becomes text."""
    generation: GenerationParams = GenerationParams()
    """Length, steps, temperature, number of samples, stops."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: the texts, or one JSON object per sample and line."""
    watch: bool = False
    """Show the canvas in the terminal while it fills."""


class InferParams(SampleOutputParams):
    """Generate text: continuations of prompts, or text from nothing."""

    command: ClassVar[str] = "infer"

    prompts: tuple[str, ...] = ()
    """Texts to continue; none at all means from nothing."""
    prompts_file: str | None = None
    """More prompts: one per line, or a .jsonl file with a "prompt" in each object; "-" reads lines from stdin."""


class InfillParams(SampleOutputParams):
    """Fill holes in texts; what surrounds them is kept to the byte."""

    command: ClassVar[str] = "infill"

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


class EvalParams(CheckpointParams):
    """Bound the likelihood of a text under a checkpoint."""

    command: ClassVar[str] = "eval"

    source: AnySource | None = None
    """The text to score; unset = the held-out split of the checkpoint's own data."""
    documents: int | None = Field(default=None, gt=0)
    """Documents to score, the first of the text; unset = all."""
    draws: int = Field(default=8, gt=1)
    """Noise levels per row, on a stratified grid; the standard error comes from their spread."""
    batch_size: int = Field(default=32, gt=0)
    """Rows per forward pass; the value does not depend on it."""
    seed: int = Field(default=0, ge=0)
    """Seed of the noise."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: a table, or one JSON object."""


class TokenizerTrainParams(CommandParams):
    """Train a tokenizer on a text and write its files."""

    command: ClassVar[str] = "train-tokenizer"

    source: AnySource = SOURCES["python-stdlib"].Params()
    """The text to learn from."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """The tokenizer."""
    output: Path = Path("tokenizer")
    """Folder for the files; it must be new or empty."""

    def output_folder(self) -> Path:
        """Return the folder of the tokenizer's files."""
        return self.output


class MakeDataParams(CommandParams):
    """Tokenize a text once and write token shards that training reads."""

    command: ClassVar[str] = "make-data"

    data: DataParams = DataParams()
    """Which text, what is held out, and how many processes tokenize."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """The tokenizer; name = "files" takes a trained one."""
    output: Path = Path("shards")
    """Folder for the shards; it must be new or empty."""
    shard_tokens: int = Field(default=100_000_000, gt=0)
    """Most tokens in one shard."""

    def output_folder(self) -> Path:
        """Return the folder of the shards."""
        return self.output
