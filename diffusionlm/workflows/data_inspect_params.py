"""The configuration of ``flowlm data inspect``, which may be written as that of a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from diffusionlm.data.params import DataParams
from diffusionlm.errors import ConfigError
from diffusionlm.workflows.command import AnyObjective, AnyProcess, AnyTokenizer, CommandParams
from diffusionlm.workflows.train_params import TrainParams, name_methods

Time = Annotated[float, Field(ge=0.0, lt=1.0)]


class DataInspectParams(CommandParams):
    """Look at a text as a model is trained on it: rows as they are packed and noised, and statistics.

    The configuration of a training run serves as well: its rows are shown, by its tokenizer, packing, seed and noise.
    """

    command: ClassVar[str] = "data inspect"

    checkpoint: str | None = None
    """A checkpoint or a run folder whose text, tokenizer and noise are taken, where they are not set here."""
    data: DataParams | None = None
    """Which text, and how it becomes rows; unset = the checkpoint's, else python-stdlib with nothing held out."""
    side: Literal["train", "validation"] = "train"
    """Which side of the split: training rows in the order of training, or held-out rows in the text's order."""
    tokenizer: AnyTokenizer | None = None
    """Text to ids; unset = the checkpoint's, the one beside shards, else bytes."""
    context_length: int | None = Field(default=None, ge=1)
    """Tokens in a row; unset = the checkpoint's, else 256."""
    seed: int | None = Field(default=None, ge=0)
    """Names the order of the rows and the noise; unset = the checkpoint's, else 0."""
    batch_size: int | None = Field(default=None, ge=1)
    """Rows of a training step, which says in which step a row is seen; unset = the checkpoint's, else 32."""
    row: int = Field(default=0, ge=0, le=1 << 50)
    """The first row to show, counted from the start of the run; a later epoch's rows are its own."""
    rows: int = Field(default=1, ge=0, le=10_000)
    """Rows to show; 0 = statistics alone."""
    time: Time | Literal["drawn"] | None = None
    """Show the noise of the process too: at this time (0 noise, 1 data), or at the times that training draws."""
    process: AnyProcess | None = None
    """The noising process; unset = the checkpoint's, else mask."""
    objective: AnyObjective | None = None
    """What is minimised, which says what is scored; unset = the checkpoint's, else what belongs to the process."""
    tokens: bool = False
    """Show where tokens begin, each decoded by itself."""
    statistics: bool = True
    """Print statistics of this side of the text."""
    documents: int | None = Field(default=None, ge=1)
    """Documents to measure, the first ones; unset = all, of a streamed text 10 000."""
    top: int = Field(default=10, ge=0)
    """How many of the most frequent tokens to list."""
    plot: Path | None = None
    """A picture (.png, .svg or .pdf) of the lengths of the documents and the frequencies of the tokens."""
    format: Literal["text", "json"] = "text"
    """What goes to stdout: text to read, or one JSON object."""

    @classmethod
    def expand(cls, tables: Mapping[str, Any], recipe: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the tables with those of a training run, if they are that, translated into this command's own."""
        del recipe
        if "training" in tables:
            return cls._from_training(tables)
        if isinstance(tables.get("data"), Mapping):  # a text that is only looked at is not split
            return {**tables, "data": {"validation_fraction": 0.0, **tables["data"]}}
        return dict(tables)

    @classmethod
    def _from_training(cls, tables: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the tables of a training run.

        Raises:
            ConfigError: They are not a run that could be trained.
        """
        own = {key: value for key, value in tables.items() if key not in TrainParams.model_fields}
        theirs = {key: value for key, value in tables.items() if key in TrainParams.model_fields}
        try:
            run = TrainParams.model_validate(theirs)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                if not one["loc"] or one["loc"][0] not in cls.model_fields:
                    key = ".".join(str(part) for part in one["loc"])
                    said = one["msg"].removeprefix("Value error, ")
                    if one["type"] == "extra_forbidden":
                        said = "unknown key; flowlm schema train lists those of a training run"
                    raise ConfigError(f"{key + ': ' if key else ''}{said}") from None
            # What is wrong with a section of this command's own, its own check says better.
            return {**own, **{key: value for key, value in theirs.items() if key in cls.model_fields}}
        shared = {name: section for name, section in vars(run).items() if name in cls.model_fields}
        return {
            **{name: section.model_dump(mode="json", exclude_none=True) for name, section in shared.items()},
            "context_length": run.model.context_length,
            "seed": run.run.seed,
            "batch_size": run.training.batch_size,
            **own,
        }

    @field_validator("time", mode="before")
    @classmethod
    def _number_or_word(cls, time: Any) -> Any:
        if isinstance(time, str) and time != "drawn":
            raise ValueError(f'{time!r} is not allowed; it must be a number in [0, 1), or "drawn"')
        return time

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tables: Any) -> Any:
        if isinstance(tables, dict) and tables.get("process") is not None:
            return {**tables, "objective": name_methods(tables)["objective"]}
        return tables

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.time is not None and self.side == "validation":
            raise ValueError('time shows the noise of training, which held-out rows never get; set side = "train"')
        if self.plot is not None and self.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise ValueError(f"plot = {str(self.plot)!r} is no kind of picture; end it in .png, .svg or .pdf")
        return self
