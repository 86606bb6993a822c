"""The debug preset: cap everything that makes a run long, so that a recipe runs through in seconds.

A cap is applied to the tables before they are validated, so the resolved configuration shows what will really run, and
reading it back changes nothing (a capped value is within its cap).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Section → key → the largest value that the preset lets through; a key that is not set becomes the cap.
CAPS: Mapping[str, Mapping[str, int]] = {
    "training": {"steps": 20, "batch_size": 8},
    "model": {"layers": 2, "width": 64, "heads": 2, "context_length": 64},
    "validation": {"every": 10, "rows": 8, "draws": 1},
    "checkpoints": {"every": 10},
    "samples": {"every": 10},
    "generation": {"length": 32, "steps": 8, "samples": 1},
}
# Keys that must follow the capped ones: left to their defaults.
FREED: Mapping[str, tuple[str, ...]] = {
    "training": ("micro_batch_size",),
    "model": ("kv_heads", "head_width", "hidden"),
    "lr_schedule": ("warmup_steps", "decay_steps"),
    "generation": ("block_length",),
}
MOST_VOCABULARY = 512


def shrink(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a training configuration with the caps applied, if ``run.debug`` asks for them.

    Values of a wrong type are left alone: validation, which comes next, names them.
    """
    run = {"run": None, **tables}["run"]
    if not isinstance(run, Mapping) or {"debug": False, **run}["debug"] is not True:
        return dict(tables)
    shrunk = {**{section: {} for section in CAPS}, "tokenizer": {}, **tables}
    for section, freed in FREED.items():
        if section in shrunk and isinstance(shrunk[section], Mapping):
            shrunk[section] = {key: value for key, value in shrunk[section].items() if key not in freed}
    for section, caps in CAPS.items():
        shrunk[section] = _capped(shrunk[section], caps)
    tokenizer = shrunk["tokenizer"]
    if isinstance(tokenizer, Mapping) and {"name": "bpe", **tokenizer}["name"] == "bpe":
        shrunk["tokenizer"] = _capped(tokenizer, {"vocab_size": MOST_VOCABULARY})
    return shrunk


def _capped(table: Any, caps: Mapping[str, int]) -> Any:
    """Return a table with each capped key at its value, at most its cap; at the cap if it has none."""
    if not isinstance(table, Mapping):
        return table
    merged = {**caps, **table}
    return merged | {key: min(merged[key], cap) for key, cap in caps.items() if type(merged[key]) is int}
