"""A source by one word of the command line: the name of a kind that needs no path, or a path whose kind shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_MARKS = ("index.json", "journal.json")
"""What a folder of shards holds, finished or not."""
_SAVED = ("state.json", "dataset_dict.json")
"""What a folder holds that save_to_disk of Hugging Face datasets wrote."""
_SIDES = ("", "train", "validation")
_ENDINGS = {".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def source_table(word: str) -> dict[str, Any]:
    """Return the table of the source that a word means, to be validated like any other.

    ``python-stdlib``; a folder of shards, of a saved dataset, or of texts; a file or a pattern, by its ending: JSON
    Lines, Parquet, text.
    """
    if word == "python-stdlib":
        return {"name": word}
    path = Path(os.path.expanduser(word))
    if path.is_dir():
        shards = any((path / side / mark).is_file() for side in _SIDES for mark in _MARKS)
        if any((path / mark).is_file() for mark in _SAVED):
            return {"name": "huggingface", "path": word}
        return {"name": "shards" if shards else "folder", "path": word}
    kind = next((kind for ending, kind in _ENDINGS.items() if word.lower().endswith(ending)), "text")
    return {"name": kind, "path": word}
