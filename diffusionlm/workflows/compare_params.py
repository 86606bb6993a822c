"""The configuration of ``flowlm compare``: what all methods share, what each is, and the budget of every run.

    [budget]            tokens, flops or minutes, exactly one
    [model] [data] [tokenizer] [training] [validation]      the same for every method
    [methods.NAME]      recipe = "NAME" and tables of its own: process, objective, optimizer, lr_schedule, generation

A recipe's own data, tokenizer, network and budget are left aside: methods are compared on one of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from diffusionlm.data.params import DataParams
from diffusionlm.errors import ConfigError
from diffusionlm.generation.params import MOST_SAMPLES, MOST_STEPS, GenerationParams
from diffusionlm.messages import validated
from diffusionlm.model.params import TransformerParams
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import LR_SCHEDULES, OPTIMIZERS, EMAParams
from diffusionlm.params import Strict
from diffusionlm.paths import FolderName, UserPath
from diffusionlm.process import PROCESSES
from diffusionlm.tokenizer import TOKENIZERS
from diffusionlm.training.params import ValidationParams
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
from diffusionlm.workflows.train_params import TrainParams, name_methods

SHARED = ("data", "tokenizer", "model", "training", "validation", "run", "checkpoints", "samples", "log")
"""Sections of a recipe that a comparison decides for all methods."""
OWN_OF_MODEL = ("causal", "time_conditioning")
"""What a method may say about the network: the rest is the shared one."""
OF_QUALITY = ("steps", "length", "samples", "batch_size", "seed")
"""What ``[quality]`` decides about samples in place of a method's own ``[generation]``."""
FEW_SEEDS, DRAWS = 3, 4


class BudgetParams(Strict):
    """What every run of every method may use up: exactly one of the three."""

    tokens: int | None = Field(default=None, gt=0)
    """Training tokens of a run."""
    flops: float | None = Field(default=None, gt=0)
    """Floating-point operations of a run's training, by the count that the report states."""
    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes of a run's training; results then depend on the machine."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        chosen = self.model_dump(exclude_none=True)
        if len(chosen) != 1:
            came = f"{' and '.join(chosen)} came" if chosen else "none came"
            raise ValueError(f"exactly one of tokens, flops and minutes must be set, {came}; set one of them")
        return self

    @property
    def kind(self) -> Literal["tokens", "flops", "minutes"]:
        """Which of the three it is."""
        return "tokens" if self.tokens is not None else "flops" if self.flops is not None else "minutes"

    @property
    def amount(self) -> float:
        """How much of it."""
        return self.tokens or self.flops or self.minutes or 0


class ComparedTrainingParams(Strict):
    """What every run's optimizer step does."""

    batch_size: int = Field(default=32, gt=0)
    """Rows per optimizer step."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Rows per forward pass; unset = the whole batch. The gradient does not depend on it."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest global gradient norm; 0 = no clipping."""
    ema: EMAParams = EMAParams()
    """The average of the weights, which is what gets scored and sampled; decay = 0 keeps none."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward pass."""
    compile: bool = False
    """Compile the models with torch.compile."""


class SweepParams(Strict):
    """The search for each method's learning rate: as many trials, of the same budget, for every method."""

    factors: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Factors of all of a method's learning rates, a trial each; a single one = no search, which the report says."""
    share: float = Field(default=0.2, gt=0, le=1)
    """Budget of a trial, as a share of a run's."""
    width: int | None = Field(default=None, ge=8)
    """Width of the trials' network, carried over by µP (optimizer.base_width); unset = the full width."""
    seed: int = Field(default=1000, ge=0)
    """Seed of the trials: apart from the runs', so that no run is chosen for its luck."""

    @field_validator("factors")
    @classmethod
    def _positive(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if not factors or min(factors) <= 0 or len(set(factors)) < len(factors):
            raise ValueError("factors must be different positive numbers, at least one")
        return factors


class QualityParams(Strict):
    """Samples of every run over a sweep of steps, measured for quality and for diversity."""

    steps: tuple[int, ...] = (4, 16, 64)
    """Steps of the method's sampler, one point of the curve each; none = no samples."""
    samples: int = Field(default=64, ge=2, le=MOST_SAMPLES)
    """Samples per point."""
    length: int | None = Field(default=None, ge=4)
    """Tokens of a sample; unset = the context."""
    batch_size: int = Field(default=32, ge=1)
    """Canvases sampled together."""
    order: int = Field(default=5, ge=1, le=7)
    """Bytes of the judge's n-grams."""
    judge_bytes: int = Field(default=1 << 23, gt=0)
    """Bytes of training text that the judge reads, at most."""
    seed: int = Field(default=0, ge=0)
    """Names the random streams of the samples."""

    @field_validator("steps")
    @classmethod
    def _different(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= number <= MOST_STEPS for number in steps) or len(set(steps)) < len(steps):
            raise ValueError(f"steps = {list(steps)} must be different numbers from 1 to {MOST_STEPS}")
        return steps


class OwnModelParams(Strict):
    """What a method may say about the network."""

    causal: bool = False
    """Attend to earlier positions only."""
    time_conditioning: bool = False
    """Tell the network t."""


class MethodParams(Strict):
    """One method of a comparison."""

    recipe: str | None = None
    """A packaged recipe or a file to start from; its tables take its place when the configuration is read."""
    process: AnyProcess = PROCESSES["mask"].Params()
    """The noising process."""
    objective: AnyObjective = OBJECTIVES["nelbo"].Params()
    """What is minimised; without a name the objective that belongs to the process."""
    optimizer: AnyOptimizer = OPTIMIZERS["adamw"].Params()
    """How the weights move; its rates are multiplied by the factors of the sweep."""
    lr_schedule: AnySchedule = LR_SCHEDULES["cosine"].Params()
    """How the learning rate moves."""
    model: OwnModelParams = OwnModelParams()
    """What this method needs of the network."""
    generation: GenerationParams = GenerationParams()
    """The sampler, temperature and filters of its samples; steps and number are the comparison's."""

    @field_validator("recipe")
    @classmethod
    def _read(cls, recipe: str | None) -> str | None:
        if recipe is not None:
            raise ValueError(f"recipe {recipe!r} was not read; load the configuration with config.load.load")
        return recipe

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tables: Any) -> Any:
        return name_methods(tables) if isinstance(tables, dict) else tables


class CompareParams(CommandParams):
    """Train several methods under one budget and set their scores and samples side by side."""

    command: ClassVar[str] = "compare"

    name: FolderName = "comparison"
    """The comparison's name; its folder is runs/<name> unless set."""
    folder: UserPath | None = None
    """Where everything goes. The same command again goes on where it was."""
    methods: dict[str, MethodParams] = Field(min_length=1)
    """The methods by name: each a table, with the name of a packaged recipe in ``recipe`` if it starts from one."""
    budget: BudgetParams
    """What every run may use up."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """A run of every method for each; fewer than three leave the errors uncertain, which the report says."""
    sweep: SweepParams = SweepParams()
    """The search for each method's learning rate."""
    quality: QualityParams = QualityParams()
    """Samples and how they are measured."""
    tokenizer: AnyTokenizer = TOKENIZERS["bpe"].Params()
    """Text to ids, trained once for all."""
    data: DataParams = DataParams.model_validate({})
    """Which text, and how it becomes rows."""
    model: TransformerParams = TransformerParams()
    """The network of every method."""
    training: ComparedTrainingParams = ComparedTrainingParams()
    """What every run's step does."""
    validation: ValidationParams = ValidationParams(draws=DRAWS)
    """Held-out likelihood: the same text and the same noise for every run."""
    plots: bool = True
    """Draw the results as PNG (needs matplotlib)."""
    device: Device = "auto"
    """Where to compute; auto = CUDA, else MPS, else CPU."""
    threads: int = Field(default=0, ge=0, le=MOST_THREADS)
    """CPU threads of torch; 0 = torch's own choice."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: tables, or one JSON object."""

    @classmethod
    def expand(cls, tables: Mapping[str, Any], recipe: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the tables with every method's recipe in its place, so that a comparison describes itself."""
        methods = tables.get("methods")
        if not isinstance(methods, Mapping):
            return dict(tables)
        return {**tables, "methods": {name: _expanded(name, method, recipe) for name, method in methods.items()}}

    @model_validator(mode="before")
    @classmethod
    def _several_draws(cls, tables: Any) -> Any:
        """Take several noise levels per row unless the table says otherwise: one alone has no error to state."""
        if isinstance(tables, dict) and isinstance(tables.get("validation"), dict):
            return {**tables, "validation": {"draws": DRAWS, **tables["validation"]}}
        return tables

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.seeds) < 0:
            raise ValueError(f"seeds = {list(self.seeds)} must be numbers of at least 0")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {list(self.seeds)} names a seed twice; give different ones")
        if self.validation.skip or not (self.data.validation_fraction or self.data.validation_source):
            raise ValueError(
                "a comparison needs held-out text; set data.validation_fraction and validation.skip = false"
            )
        if any(not name.replace("-", "").replace("_", "").replace(".", "").isalnum() for name in self.methods):
            raise ValueError("a method's name holds letters, digits, '-', '_' and '.' only: it names a folder")
        if self.quality.length is not None and self.quality.length > self.model.context_length:
            raise ValueError(f"quality.length = {self.quality.length} is more than the context; lower it")
        for name in self.methods:
            self._check_blocks(name, self.run_of(name, {}))
        return self

    def _check_blocks(self, name: str, run: TrainParams) -> None:
        """Refuse, before anything is trained, samples with fewer steps than blocks."""
        length = self.quality.length or self.model.context_length
        block = {"block_length": run.generation.block_length, **vars(run.process)}["block_length"]
        blocks = -(-length // block) if block else 1
        if self.quality.steps and min(self.quality.steps) < blocks:
            raise ConfigError(
                f"methods.{name}: quality.steps = {list(self.quality.steps)} are too few for {blocks} blocks, which "
                f"take at least one step each; use steps of at least {blocks}, or a larger block_length"
            )

    def run_of(self, name: str, more: Mapping[str, Mapping[str, Any]]) -> TrainParams:
        """Return the training run of a method; ``more`` is merged over its sections.

        Raises:
            ConfigError: The method does not fit together, or does not fit the network.
        """
        method = self.methods[name]
        own = method.model.model_dump(exclude_defaults=True)
        tables: dict[str, dict[str, Any]] = {
            "tokenizer": _table(self.tokenizer),
            "data": _table(self.data),
            "model": {**_table(self.model), **own},
            "process": _table(method.process),
            "objective": _table(method.objective),
            "optimizer": _table(method.optimizer),
            "lr_schedule": _table(method.lr_schedule),
            "training": {"steps": 10**9, **_table(self.training)},
            "validation": {**_table(self.validation), "skip": PROCESSES[method.process.name].bound == "none"},
            "generation": {k: v for k, v in _table(method.generation).items() if k not in OF_QUALITY},
            "samples": {"prompts": []},
            "run": {"name": name, "device": self.device, "threads": self.threads},
        }
        for section, values in more.items():
            replaced = "name" in values and section != "run" and values["name"] != tables[section]["name"]
            tables[section] = dict(values) if replaced else {**tables.get(section, {}), **values}
        return validated(TrainParams, tables, f"methods.{name}")

    def output_folder(self) -> Path:
        """Return the comparison's folder."""
        return self.folder if self.folder is not None else Path("runs") / self.name


def _table(params: Strict) -> dict[str, Any]:
    return params.model_dump(mode="json", exclude_none=True)


def _expanded(name: str, method: Any, recipe: Callable[[str], Mapping[str, Any]]) -> Any:
    """Return a method's tables over those of its recipe."""
    if not isinstance(method, Mapping):
        return method
    if "model" in method and isinstance(method["model"], Mapping):
        for key in method["model"]:
            if key not in OWN_OF_MODEL and key in TransformerParams.model_fields:
                raise ConfigError(
                    f"methods.{name}.model.{key}: methods are compared on one network; set model.{key} for all of "
                    f"them (a method may set {' and '.join(OWN_OF_MODEL)})"
                )
    for section in SHARED:
        if section in method and section != "model":
            raise ConfigError(f"methods.{name}.{section}: is shared by all methods; set [{section}] for all of them")
    if "recipe" not in method:
        return dict(method)
    try:
        base = recipe(str(method["recipe"]))
    except ConfigError as error:
        raise ConfigError(f"methods.{name}.recipe: {error}") from None
    if "methods" in base:
        raise ConfigError(
            f"methods.{name}.recipe: {method['recipe']} is a comparison's configuration; name a recipe of training"
        )
    merged = {section: table for section, table in base.items() if section not in SHARED}
    own = {key: value for key, value in base.get("model", {}).items() if key in OWN_OF_MODEL}
    merged |= {"model": own} if own else {}
    for section, table in method.items():
        old = merged.get(section, {})
        # A method of another name starts afresh: the keys of one do not fit the other.
        fresh = isinstance(table, Mapping) and table.get("name", old.get("name")) != old.get("name")
        merged[section] = {**({} if fresh else old), **table} if isinstance(table, Mapping) else table
    return {section: table for section, table in merged.items() if section != "recipe"}
