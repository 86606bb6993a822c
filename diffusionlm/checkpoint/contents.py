"""What a checkpoint folder holds, and how it is written.

    step-N/
      model.safetensors         weights by parameter name
      ema.safetensors           their running average, if the run keeps one
      optimizer.safetensors     optimizer tensors, "parameter name/slot"
      byte_counts.safetensors   counts of the training split, for the baselines
      config.json               parameters of model, process and objective; vocabulary; data context; tokenizer digest
      state.json                step, data cursor, counters, best so far, scalars of optimizer and EMA
      tokenizer/                the tokenizer's own files
      manifest.json             SHA-256 and size of all of these

Random numbers need no state: every draw is a function of the seed and the step (see ``diffusionlm.rng``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import ConfigDict

from diffusionlm.checkpoint.store import staged
from diffusionlm.checkpoint.tensors import write_tensors
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import Vocabulary

MODEL, EMA, OPTIMIZER, BYTE_COUNTS = (
    "model.safetensors",
    "ema.safetensors",
    "optimizer.safetensors",
    "byte_counts.safetensors",
)
CONFIG, STATE, TOKENIZER = "config.json", "state.json", "tokenizer"


class SavedTokenizer(Protocol):
    """The part of a tokenizer that a checkpoint needs."""

    @property
    def vocab_size(self) -> int:
        """K."""
        ...

    def fingerprint(self) -> str:
        """Return the digest of its contents."""
        ...

    def save(self, folder: Path) -> None:
        """Write its files into ``folder``."""
        ...


@dataclass(frozen=True)
class Best:
    """The best validation result of a run so far.

    Attributes:
        metric: Its name; lower is better.
        value: Finite.
        step: The step that reached it, whose checkpoint retention keeps.
    """

    metric: str
    value: float
    step: int


@dataclass(frozen=True)
class SavedState:
    """Where a run stands, in a few numbers.

    Attributes:
        step: Optimizer updates done.
        seed: The run's seed, from which every random draw follows.
        cursor: The data position, as the loader's own integers.
        counters: Totals so far (tokens, seconds, …), and short lists of sums.
        optimizer: The optimizer's scalars.
        ema: The running average's scalars.
        best: The best validation result so far, or ``None``.
        provenance: Where it came from: command, commit, versions.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    step: int
    seed: int
    cursor: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int | float | list[float]] = field(default_factory=dict)
    optimizer: dict[str, int | float] = field(default_factory=dict)
    ema: dict[str, int | float] = field(default_factory=dict)
    best: Best | None = None
    provenance: dict[str, str | int | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedConfig:
    """What must be known to use the weights.

    Attributes:
        model, process, objective: The validated parameters that built them.
        vocabulary: The ids that model and process agree on.
        data: The data context (how rows were packed, context length, sources), any JSON values.
    """

    model: Strict
    process: Strict
    objective: Strict
    vocabulary: Vocabulary
    data: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    *,
    state: SavedState,
    config: SavedConfig,
    tokenizer: SavedTokenizer,
    model: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, torch.Tensor] | None = None,
    ema: Mapping[str, torch.Tensor] | None = None,
    byte_counts: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write ``folder/step-<state.step>`` whole or not at all, and return it.

    Args:
        folder: The run's checkpoints folder.
        state: Where the run stands.
        config: The parameters.
        tokenizer: Saved with the weights, so that they open without anything else.
        model: Weights by name (``model.state_dict()``); a tied tensor is stored once.
        optimizer: Optimizer tensors by "parameter name/slot"; ``None`` for a checkpoint that will not be resumed.
        ema: Averaged weights by parameter name.
        byte_counts: What the baselines of the report need.

    Raises:
        CheckpointError: The file system refused; earlier checkpoints are intact.
    """
    with staged(folder, state.step) as temporary:
        write_tensors(temporary / MODEL, model)
        for name, tensors in ((OPTIMIZER, optimizer), (EMA, ema), (BYTE_COUNTS, byte_counts)):
            if tensors is not None:
                write_tensors(temporary / name, tensors)
        (temporary / TOKENIZER).mkdir()
        tokenizer.save(temporary / TOKENIZER)
        _write_json(temporary / CONFIG, _config_table(config, tokenizer))
        _write_json(temporary / STATE, asdict(state))
    return folder / f"step-{state.step}"


def _config_table(config: SavedConfig, tokenizer: SavedTokenizer) -> dict[str, Any]:
    return {
        "model": config.model.model_dump(mode="json"),
        "process": config.process.model_dump(mode="json"),
        "objective": config.objective.model_dump(mode="json"),
        "vocabulary": asdict(config.vocabulary),
        "data": dict(config.data),
        "tokenizer": {"fingerprint": tokenizer.fingerprint(), "vocab_size": tokenizer.vocab_size},
    }


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    # Python writes floats so that they read back to the same bits; NaN has no JSON form and is a fault of the caller.
    path.write_text(json.dumps(table, indent=1, allow_nan=False) + "\n", encoding="utf-8")
