"""Tiny training runs for tests: their configuration, what they logged, and runs in a process that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.resolved import to_toml

STEPS = 12
# What a step computes, as opposed to how long it took.
TIMING = ("time", "tokens_per_second", "time/seconds", "time/data_wait_share", "seconds", "data_wait_share")


def write_text(folder: Path, documents: int = 40, seed: int = 0) -> Path:
    """Write a small text of several documents, a few words over and over, and return its path."""
    rng = np.random.default_rng(seed)
    words = ["the", "flow", "of", "noise", "to", "data", "is", "a", "path", "é"]
    path = folder / "text.txt"
    lines = [" ".join(rng.choice(words, size=int(rng.integers(8, 40)))) + "." for _ in range(documents)]
    path.write_text("<|endoftext|>".join(lines), encoding="utf-8")
    return path


def configuration(text: Path, folder: Path, **sections: Any) -> TrainParams:
    """Return a run of a dozen steps on a text; ``sections`` are merged over its tables."""
    tables: dict[str, dict[str, Any]] = {
        "run": {"folder": str(folder), "device": "cpu", "threads": 1, "seed": 3},
        "tokenizer": {"name": "byte"},
        "data": {"source": {"name": "text", "path": str(text)}, "validation_fraction": 0.2, "cache": "none"},
        "model": {"layers": 2, "width": 32, "heads": 2, "context_length": 32},
        "training": {"steps": STEPS, "batch_size": 4, "precision": "fp32", "ema": {"decay": 0.9}},
        "lr_schedule": {"name": "cosine", "warmup_steps": 2},
        "validation": {"every": 5, "rows": 4, "final_tokens": 200},
        "checkpoints": {"every": 4},
        "samples": {"prompts": ["the "], "infill": ["the <|hole:4|> of"]},
        "generation": {"length": 8, "steps": 4},
        "log": {"outputs": [], "log_every": 1},
    }
    for name, section in sections.items():
        tables[name] = {**tables[name], **section} if name in tables else section
    return TrainParams.model_validate(tables)


def lines_of(folder: Path, file: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the records of a run's JSON lines."""
    return [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines()]


def trace(folder: Path) -> list[dict[str, Any]]:
    """Return everything that a run logged, bit for bit, except how long it took."""
    return [{k: v for k, v in line.items() if k not in TIMING} for line in lines_of(folder)]


KILLER = """
import os, signal, sys, tomllib
import diffusionlm.workflows.train as workflow
from diffusionlm.workflows.params import TrainParams

params = TrainParams.model_validate(tomllib.load(open(sys.argv[1], "rb")))
step, place, number = int(sys.argv[2]), sys.argv[3], getattr(signal, sys.argv[4])
if place == "step":
    kind, name, when = workflow.TrainStep, "__call__", lambda args: args[2] == step
else:
    import diffusionlm.checkpoint.store as kind
    name, when = "_commit", lambda args: args[1].name == f"step-{step}"
original = getattr(kind, name)

def strike(*args, **kwargs):
    if when(args):
        os.kill(os.getpid(), number)
    return original(*args, **kwargs)

setattr(kind, name, strike)
print(workflow.train(params).outcome)
"""


def run_and_strike(
    params: TrainParams, step: int, place: str = "step", signal_name: str = "SIGKILL"
) -> subprocess.CompletedProcess[str]:
    """Train in another process, which sends itself a signal before optimizer step ``step``, or while it saves there."""
    assert params.run.folder is not None
    file = params.run.folder.with_suffix(".toml")
    file.write_text(to_toml(params), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", KILLER, str(file), str(step), place, signal_name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
