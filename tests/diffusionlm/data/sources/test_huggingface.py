from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffusionlm.data.sources.huggingface import HuggingFaceParams, HuggingFaceSource
from diffusionlm.errors import DataError

STORIES = [f"story {i}" for i in range(20)]
HELD_OUT = ["held out 1", "held out 2"]


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local stand-in of a hub dataset: data files named after their splits."""
    folder = tmp_path / "stories"
    folder.mkdir()
    write_rows(folder / "train.jsonl", [{"text": text, "id": i} for i, text in enumerate([*STORIES, None])])
    write_rows(folder / "validation.jsonl", [{"text": text, "id": i} for i, text in enumerate(HELD_OUT)])
    return folder


def source(path: Path | str, tmp_path: Path, **params: object) -> HuggingFaceSource:
    given = {"path": str(path), "cache_dir": str(tmp_path / "hf"), **params}
    return HuggingFaceSource(HuggingFaceParams.model_validate(given))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_local_dataset_streamed_or_not(folder: Path, tmp_path: Path, streaming: bool) -> None:
    one = source(folder, tmp_path, streaming=streaming, validation_split="validation")
    expected = [text.encode() for text in STORIES]
    assert list(one) == expected
    assert list(one) == expected
    assert one.streaming == streaming
    assert one.count == (None if streaming else 21)
    validation = one.validation()
    assert validation is not None
    assert not validation.streaming, "it is read once, to its end"
    assert validation.cacheable == one.cacheable == (not streaming)
    assert list(validation) == [text.encode() for text in HELD_OUT]
    assert source(folder, tmp_path).validation() is None


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_saved_to_disk(tmp_path: Path, streaming: bool) -> None:
    import datasets

    train, validation = (datasets.Dataset.from_dict({"text": texts}) for texts in (STORIES, HELD_OUT))
    datasets.DatasetDict({"train": train, "validation": validation}).save_to_disk(str(tmp_path / "both"))
    train.save_to_disk(str(tmp_path / "one"))
    assert list(source(tmp_path / "both", tmp_path, streaming=streaming)) == [text.encode() for text in STORIES]
    assert list(source(tmp_path / "both", tmp_path, split="validation")) == [text.encode() for text in HELD_OUT]
    assert list(source(tmp_path / "one", tmp_path, streaming=streaming)) == [text.encode() for text in STORIES]
    with pytest.raises(DataError, match=r"split 'test'.*Unknown split .*\['train', 'validation'\]"):
        list(source(tmp_path / "both", tmp_path, split="test"))


def test_once_downloaded_it_is_read_offline(folder: Path, tmp_path: Path) -> None:
    first = source(folder, tmp_path)
    assert list(source(folder, tmp_path, offline=True)) == list(first)
    assert any((tmp_path / "hf").rglob("*.arrow")), "the cache folder is used"


def test_fingerprints(folder: Path, tmp_path: Path) -> None:
    first = source(folder, tmp_path).fingerprint
    assert source(folder, tmp_path).fingerprint == first
    assert source(folder, tmp_path, split="validation").fingerprint != first
    assert source(folder, tmp_path, streaming=True).fingerprint != first
    write_rows(folder / "train.jsonl", [{"text": "other", "id": 1}])
    assert source(folder, tmp_path).fingerprint != first


@pytest.mark.parametrize("streaming", [False, True])
def test_mistakes_are_one_line_each(folder: Path, tmp_path: Path, streaming: bool) -> None:
    def message(path: Path | str, **params: object) -> str:
        with pytest.raises(DataError) as caught:
            list(source(path, tmp_path, streaming=streaming, **params))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert message(folder, text_field="txt").endswith(
        "has no field 'txt'; did you mean 'text'?; set text_field to one of: id, text"
    )
    assert "holds int, not text; set text_field" in message(folder, text_field="id")
    assert "split 'test'" in message(folder, split="test")
    assert "check path, config, split and revision" in message(folder, split="test")
    assert "cannot read dataset" in message(folder, config="nonsense")
    assert "cannot read dataset 'no-such/data'" in message("no-such/data", offline=True)
    (tmp_path / "empty").mkdir()
    assert "cannot read dataset" in message(tmp_path / "empty")


def test_the_size_of_the_text_where_it_is_not_streamed(folder: Path, tmp_path: Path) -> None:
    import datasets

    texts = [f"{i} " * (i % 50) for i in range(2000)]
    saved = datasets.Dataset.from_dict({"text": texts, "other": ["x" * 500] * 2000})
    saved.save_to_disk(str(tmp_path / "all"))
    size = sum(map(len, texts))
    expected = source(tmp_path / "all", tmp_path).expected_bytes
    assert expected is not None
    assert size <= expected < 1.1 * size
    half = saved.shuffle(seed=0).select(range(1000))
    half.save_to_disk(str(tmp_path / "half"))
    expected = source(tmp_path / "half", tmp_path).expected_bytes
    assert expected is not None
    assert 0.4 * size < expected < 0.6 * size
    assert source(folder, tmp_path, streaming=True).expected_bytes is None
