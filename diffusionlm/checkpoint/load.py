"""Opening a checkpoint folder: verify it, validate its parameters, read tensors on demand, rebuild the model.

A checkpoint needs nothing but itself. Tensors are read when asked for, so that inference never touches the optimizer's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from diffusionlm.checkpoint.contents import BYTE_COUNTS, CONFIG, EMA, MODEL, OPTIMIZER, STATE, TOKENIZER, SavedState
from diffusionlm.checkpoint.manifest import MANIFEST, verify
from diffusionlm.checkpoint.tensors import read_tensors
from diffusionlm.errors import CheckpointError, ConfigError
from diffusionlm.lazy import torch
from diffusionlm.model.params import TransformerParams
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES, Process, Vocabulary

if TYPE_CHECKING:
    from diffusionlm.model.transformer import Transformer
    from diffusionlm.tokenizer import Tokenizer

T = TypeVar("T")
Weights = Literal["ema", "model"]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint folder.

    Attributes:
        path: The folder.
        files: Names of the files that it holds.
        state: Where the run stood.
        model, process: The validated parameters.
        vocabulary: The ids that model and process agree on.
        objective: The objective's parameters as written; see ``objective_params``.
        data: The data context of the run, as written.
        tokenizer_fingerprint: Digest of the tokenizer.
    """

    path: Path
    files: tuple[str, ...]
    state: SavedState
    model: TransformerParams
    process: Strict
    vocabulary: Vocabulary
    objective: Mapping[str, Any]
    data: Mapping[str, Any]
    tokenizer_fingerprint: str

    @property
    def has_ema(self) -> bool:
        """Whether averaged weights were saved."""
        return EMA in self.files

    def objective_params(self, union: Any) -> Any:
        """Return the validated parameters of the objective, given the type ``OBJECTIVES.union(...)``.

        The objectives live in a package of the same layer, so the caller brings their type.
        """
        return _validated(TypeAdapter(union), self.objective, self.path, "objective")

    def weights(self, which: Weights | None = None, device: str = "cpu") -> dict[str, torch.Tensor]:
        """Return the weights by name on ``device``.

        Args:
            which: ``ema`` (the model's tensors with the averaged ones in their place), ``model``, or ``None`` for the
                average where there is one.
            device: Where to read them to.

        Raises:
            CheckpointError: ``ema`` was asked for and there is none.
        """
        if which is None:
            which = "ema" if self.has_ema else "model"
        model = read_tensors(self.path / MODEL, device)
        if which == "model":
            return model
        if not self.has_ema:
            raise CheckpointError(f"{self.path} holds no averaged weights; choose weights = 'model'")
        return {**model, **self.ema(device)}

    def ema(self, device: str = "cpu") -> dict[str, torch.Tensor]:
        """Return the running average's tensors; empty if the run kept none."""
        return read_tensors(self.path / EMA, device) if self.has_ema else {}

    def optimizer(self, device: str = "cpu") -> dict[str, torch.Tensor]:
        """Return the optimizer's tensors by "parameter name/slot".

        Raises:
            CheckpointError: The checkpoint was saved without them.
        """
        if OPTIMIZER not in self.files:
            raise CheckpointError(f"{self.path} holds no optimizer state; it can be sampled but not resumed")
        return read_tensors(self.path / OPTIMIZER, device)

    def byte_counts(self) -> dict[str, torch.Tensor] | None:
        """Return the baselines' counts of the training split, or ``None`` if none were saved."""
        return read_tensors(self.path / BYTE_COUNTS) if BYTE_COUNTS in self.files else None

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer.

        Raises:
            CheckpointError: It is not the one that the weights were trained with.
        """
        from diffusionlm.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(self.path / TOKENIZER)
        if tokenizer.fingerprint() != self.tokenizer_fingerprint:
            raise CheckpointError(f"{self.path}: the tokenizer is not the one of the weights; use another checkpoint")
        return tokenizer

    def build_process(self) -> Process:
        """Return the noising process."""
        return PROCESSES.build(self.process, self.vocabulary)


def load_checkpoint(path: Path) -> Checkpoint:
    """Open a ``step-N`` folder after verifying every file in it.

    Raises:
        CheckpointError: In one line: the file that is missing, truncated, corrupted or of another format version.
    """
    files = verify(path)
    for name in (MODEL, CONFIG, STATE):
        if name not in files:
            raise CheckpointError(f"{path}: {MANIFEST} names no {name}, so this is not a checkpoint of a model")
    config = _read_json(path / CONFIG)
    return Checkpoint(
        path=path,
        files=tuple(files),
        state=_validated(TypeAdapter(SavedState), _read_json(path / STATE), path, "state"),
        model=_section(config, "model", TypeAdapter(TransformerParams), path),
        process=_section(config, "process", TypeAdapter(PROCESSES.union(default="mask")), path),
        vocabulary=_section(config, "vocabulary", TypeAdapter(Vocabulary), path),
        objective=_section(config, "objective", TypeAdapter(dict[str, Any]), path),
        data=_section(config, "data", TypeAdapter(dict[str, Any]), path),
        tokenizer_fingerprint=_section(config, "tokenizer", TypeAdapter(dict[str, Any]), path)["fingerprint"],
    )


def _section(config: Mapping[str, Any], name: str, adapter: TypeAdapter[T], path: Path) -> T:
    if name not in config:
        raise CheckpointError(f"{path}: {CONFIG} has no {name!r}; open it with the flowlm release that wrote it")
    return _validated(adapter, config[name], path, name)


def _validated(adapter: TypeAdapter[T], value: object, path: Path, what: str) -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join((what, *(str(part) for part in first["loc"])))
        raise CheckpointError(
            f"{path}: {where}: {first['msg']}; open it with the flowlm release that wrote it"
        ) from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {what}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); use another checkpoint") from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{path} holds no table; use another checkpoint")
    return table


def load_model(
    checkpoint: Checkpoint,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    weights: Weights | None = None,
    build: Callable[[TransformerParams, Vocabulary, int], Transformer] | None = None,
) -> Transformer:
    """Return the trained network, in evaluation mode.

    Args:
        checkpoint: Where its parameters and weights are.
        device: Where it goes.
        dtype: Its parameters' dtype; ``None`` keeps the saved one.
        weights: ``ema``, ``model``, or ``None`` for the average where there is one.
        build: How to construct it; ``diffusionlm.model.transformer.build_model`` unless given.

    Raises:
        CheckpointError: The weights do not fit the parameters.
    """
    from diffusionlm.model.transformer import build_model

    model = (build or build_model)(checkpoint.model, checkpoint.vocabulary, 0)
    saved = checkpoint.weights(which=weights)
    own = model.state_dict()
    odd = sorted(set(own).symmetric_difference(saved)) or [n for n in own if own[n].shape != saved[n].shape]
    if odd:
        raise CheckpointError(
            f"{checkpoint.path}: tensor {odd[0]!r} does not fit the model that {CONFIG} describes ({len(odd)} such); "
            "open it with the flowlm release that wrote it"
        )
    model.load_state_dict(saved, assign=False)
    return model.to(device=device, dtype=dtype).eval()
