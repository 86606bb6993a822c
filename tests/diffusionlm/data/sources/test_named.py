"""A word of the command line means the source that it looks like."""

import pytest

from diffusionlm.data.journal import JOURNAL
from diffusionlm.data.shards import INDEX
from diffusionlm.data.sources import SOURCES
from diffusionlm.data.sources.named import source_table
from diffusionlm.data.sources.shards import TRAIN, VALIDATION


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("python-stdlib", "python-stdlib"),
        ("book.txt", "text"),
        ("README", "text"),
        ("corpus/**/*.jsonl", "jsonl"),
        ("a.jsonl.gz", "jsonl"),
        ("a.PARQUET", "parquet"),
    ],
)
def test_files_and_patterns(word, name):
    table = source_table(word)
    assert table["name"] == name
    assert SOURCES[name].Params.model_validate(table)


@pytest.mark.parametrize(
    ("holds", "name"),
    [
        ("a.txt", "folder"),
        (f"{TRAIN}/a.txt", "folder"),
        (INDEX, "shards"),
        (f"{TRAIN}/{INDEX}", "shards"),
        (f"{TRAIN}/{JOURNAL}", "shards"),
        (f"{VALIDATION}/{INDEX}", "shards"),
        ("dataset_dict.json", "huggingface"),
        ("state.json", "huggingface"),
    ],
)
def test_folders(holds, name, tmp_path):
    (tmp_path / holds).parent.mkdir(exist_ok=True)
    (tmp_path / holds).touch()
    assert source_table(str(tmp_path)) == {"name": name, "path": str(tmp_path)}
