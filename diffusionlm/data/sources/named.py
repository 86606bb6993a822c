"""A source by one word of the command line: the name of a kind that needs no path, or a path whose kind shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

INDEX = "index.json"
"""What a finished folder of shards holds; or its folder ``train`` does."""
_ENDINGS = {".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def source_table(word: str) -> dict[str, Any]:
    """Return the table of the source that a word means, to be validated like any other.

    ``python-stdlib``; a folder of shards, or of texts; a file or a pattern, by its ending: JSON Lines, Parquet, text.
    """
    if word == "python-stdlib":
        return {"name": word}
    path = Path(os.path.expanduser(word))
    if path.is_dir():
        shards = (path / INDEX).is_file() or (path / "train").is_dir()
        return {"name": "shards" if shards else "folder", "path": word}
    kind = next((kind for ending, kind in _ENDINGS.items() if word.lower().endswith(ending)), "text")
    return {"name": kind, "path": word}
