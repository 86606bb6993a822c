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
    "samples": {"every": 10, "count": 1, "length": 64, "steps": 8},
}
# Keys that must follow the capped ones: left to their defaults.
FREED: Mapping[str, tuple[str, ...]] = {
    "training": ("micro_batch_size",),
    "model": ("kv_heads", "head_width", "hidden"),
}
MOST_VOCABULARY = 512


def shrink(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a training configuration with the caps applied, if ``run.debug`` asks for them.

    Values of a wrong type are left alone: validation, which comes next, names them.
    """
    run = tables["run"] if "run" in tables else None
    if not isinstance(run, Mapping) or "debug" not in run or run["debug"] is not True:
        return dict(tables)
    shrunk = dict(tables)
    for section, caps in CAPS.items():
        table = shrunk[section] if section in shrunk else {}
        if isinstance(table, Mapping):
            freed = FREED[section] if section in FREED else ()
            kept = {key: value for key, value in table.items() if key not in freed}
            shrunk[section] = kept | {key: _capped(kept, key, cap) for key, cap in caps.items()}
    if "lr_schedule" in shrunk and isinstance(shrunk["lr_schedule"], Mapping):
        shrunk["lr_schedule"] = {k: v for k, v in shrunk["lr_schedule"].items() if k != "warmup_steps"}
    tokenizer = shrunk["tokenizer"] if "tokenizer" in shrunk else {}
    if isinstance(tokenizer, Mapping) and ("name" not in tokenizer or tokenizer["name"] == "bpe"):
        shrunk["tokenizer"] = {**tokenizer, "vocab_size": _capped(tokenizer, "vocab_size", MOST_VOCABULARY)}
    return shrunk


def _capped(table: Mapping[str, Any], key: str, cap: int) -> Any:
    """Return the table's value for ``key``, at most ``cap``; the cap if there is none."""
    value = table[key] if key in table else cap
    return min(value, cap) if isinstance(value, int) and not isinstance(value, bool) else value
