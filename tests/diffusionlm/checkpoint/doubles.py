"""A tiny run to save: a real model and process, and a tokenizer of one file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from diffusionlm.checkpoint import Best, SavedConfig, SavedState, save_checkpoint
from diffusionlm.checkpoint.contents import SavedTokenizer
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import Transformer, build_model
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import PROCESSES, Vocabulary

VOCABULARY = Vocabulary.after(17)


class FileTokenizer:
    """The part of a tokenizer that saving uses."""

    vocab_size = 17

    def fingerprint(self) -> str:
        return hashlib.sha256(b"seventeen").hexdigest()

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(json.dumps({"name": "double"}))


def tiny_params(**changes: object) -> TransformerParams:
    return TransformerParams.model_validate(
        {"layers": 1, "width": 16, "heads": 2, "hidden": 32, "context_length": 8, **changes}
    )


def tiny_model(seed: int = 0, **changes: object) -> Transformer:
    return build_model(tiny_params(**changes), VOCABULARY, seed)


def state(step: int, best: Best | None = None) -> SavedState:
    return SavedState(
        step=step,
        seed=5,
        cursor={"row": 32 * step},
        counters={"tokens": 10**12 + step, "seconds": 0.1 + step},
        optimizer={"step": step},
        best=best,
        provenance={"commit": "0123abc"},
    )


def save(
    folder: Path,
    step: int,
    seed: int = 0,
    best: Best | None = None,
    ema: bool = True,
    tokenizer: SavedTokenizer | None = None,
    **changes: object,
) -> Path:
    """Save a run at ``step`` whose weights follow from ``seed``."""
    model = tiny_model(seed, **changes)
    weights = model.state_dict()
    config = SavedConfig(
        model=model.params,
        process=PROCESSES["mask"].Params.model_validate({"schedule": {"name": "polynomial", "exponent": 2.5}}),
        objective=OBJECTIVES["llada"].Params.model_validate({"times": {"t_range": [0.1, 0.9]}}),
        vocabulary=VOCABULARY,
        data={"packing": "packed", "context_length": 8},
    )
    return save_checkpoint(
        folder,
        state=state(step, best),
        config=config,
        tokenizer=FileTokenizer() if tokenizer is None else tokenizer,
        model=weights,
        optimizer={f"{name}/exp_avg": torch.full_like(value, 0.25) for name, value in weights.items()},
        ema={name: value + 1 for name, value in weights.items()} if ema else None,
        byte_counts={"pairs": torch.arange(6).reshape(2, 3)},
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under ``folder`` by relative name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
