"""The configuration of ``flowlm train``.

A check here is one that spans sections; what concerns a single section is checked where that section is defined.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from diffusionlm.data.params import DataParams
from diffusionlm.generation.params import GenerationParams
from diffusionlm.model.params import TransformerParams
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import LR_SCHEDULES, OPTIMIZERS
from diffusionlm.optim.schedule import span_steps
from diffusionlm.params import Strict
from diffusionlm.paths import FolderName, UserPath
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.registry import params_name
from diffusionlm.runlog import RunLogParams
from diffusionlm.sampling import SAMPLERS
from diffusionlm.tokenizer import TOKENIZERS
from diffusionlm.training.params import CheckpointingParams, SamplesParams, TrainingParams, ValidationParams
from diffusionlm.workflows.command import (
    MOST_THREADS,
    AnyObjective,
    AnyOptimizer,
    AnyProcess,
    AnySchedule,
    AnyTokenizer,
    CommandParams,
    Device,
)
from diffusionlm.workflows.debug import shrink


class RunParams(Strict):
    """Where a run lives and what makes it repeatable."""

    name: FolderName = "run"
    """The run's name in logs; its folder is runs/<name> unless set. No slash, no dot at the beginning."""
    folder: UserPath | None = None
    """The run folder: configuration, metrics, samples and checkpoints. It must be new or empty, or resumed."""
    resume: str = ""
    """Empty = start anew; "auto" = continue from the folder's newest good checkpoint if it has one; or a checkpoint."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random in training: initialisation, data order, noise, dropout."""
    device: Device = "auto"
    """Where to train; auto = CUDA, else MPS, else CPU."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
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
    data: DataParams = DataParams.model_validate({})
    """Which text, and how it becomes rows."""
    model: TransformerParams = TransformerParams()
    """The network."""
    process: AnyProcess = PROCESSES["mask"].Params()
    """The noising process."""
    objective: AnyObjective = OBJECTIVES["nelbo"].Params()
    """What is minimised; without a name the objective that belongs to the process."""
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
    samples: SamplesParams = SamplesParams()
    """What is sampled while training and at the end."""
    generation: GenerationParams = GenerationParams()
    """How it is sampled: sampler, steps, temperature, length, number."""
    log: RunLogParams = RunLogParams()
    """What is logged, how often, and to where."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tables: Any) -> Any:
        return name_methods(shrink(tables)) if isinstance(tables, dict) else tables

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse sections that are valid alone and impossible together."""
        process = PROCESSES[params_name(type(self.process))]
        objective = OBJECTIVES[params_name(type(self.objective))]
        objective.check(process)
        objective.check_params(self.objective, self.process)
        if self.generation.sampler is not None:
            SAMPLERS[params_name(type(self.generation.sampler))].check(process)
        self.generation.check_blocks(process)
        if self.generation.guidance or self.generation.self_correction is not None:
            # Only here, because a process as an object needs torch. Any vocabulary will do: the one of bytes.
            self.generation.check(PROCESSES.build(self.process, Vocabulary.after(257)))
        context = self.model.context_length
        if self.generation.length is not None and self.generation.length > context:
            raise ValueError(
                f"generation.length = {self.generation.length} is more than model.context_length = {context}; lower it"
            )
        if not self.validation.skip and not self.data.validation_fraction and self.data.validation_source is None:
            raise ValueError(
                "nothing is held out (data.validation_fraction = 0, no data.validation_source), so there is nothing to "
                "validate on; hold something out or set validation.skip = true"
            )
        if self.validation.skip and self.objective.times.search_every:
            raise ValueError(
                "objective.times.search_every needs held-out rows to search on, and validation.skip = true keeps none; "
                "set one of them to 0 or false"
            )
        if self.model.shift:
            raise ValueError(
                "model.shift = 1 cannot be trained from nothing: it needs a never-masked first token (BOS) in front of "
                "each document, which comes with converted models; set model.shift = 0"
            )
        if self.training.compile and self.log.activation_norms:
            raise ValueError(
                "training.compile = true and log.activation_norms = true cannot go together: a compiled model has no "
                "layers to listen to; set one of them to false"
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


def name_methods(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables with what belongs to the process, where it is not named.

    The objective, the sampler and whether the network is told the time.
    """
    process = tables.get("process", {})
    name = process.get("name", "mask") if isinstance(process, dict) else params_name(type(process))
    if name not in PROCESSES:
        return dict(tables)  # refused by the field itself, in its own words
    kind = PROCESSES[name]
    objective, generation, model = (tables.get(section, {}) for section in ("objective", "generation", "model"))
    named = dict(tables)
    if isinstance(model, dict):
        named["model"] = {"time_conditioning": kind.time_conditioning, **model}
    if isinstance(objective, dict):
        belongs = {"name": kind.objective, **kind.objective_defaults}
        named["objective"] = {
            **(belongs if objective.get("name", kind.objective) == kind.objective else {}),
            **objective,
        }
    if isinstance(generation, dict):
        sampler = generation.get("sampler", {})
        if isinstance(sampler, dict) and kind.sampler in SAMPLERS:
            named["generation"] = {**generation, "sampler": {"name": kind.sampler, **sampler}}
    return named
