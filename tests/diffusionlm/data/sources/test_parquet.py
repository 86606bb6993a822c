from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusionlm.data.sources.parquet import ParquetParams, ParquetSource
from diffusionlm.errors import DataError


def write(path: Path, **columns: Any) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def source(path: Path, **params: object) -> ParquetSource:
    return ParquetSource(ParquetParams.model_validate({"path": str(path), **params}))


def test_one_document_per_row(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(3000)]
    write(tmp_path / "a.parquet", text=[*texts, None, ""], id=list(range(3002)))
    write(tmp_path / "b.parquet", text=["é"])
    both = source(tmp_path / "*.parquet")
    assert list(both) == [*(text.encode() for text in texts), "é".encode()]
    assert both.count == 3003
    write(tmp_path / "c.parquet", body=["x"])
    assert list(source(tmp_path / "c.parquet", text_field="body")) == [b"x"]


def test_mistakes_are_one_line_each(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", body=["x"], id=[1])
    with pytest.raises(DataError, match=r"^'.*a.parquet' has no field 'text'; set text_field to one of: body, id$"):
        list(source(path))
    with pytest.raises(DataError, match=r"^field 'id' of '.*a.parquet' holds int64, not text"):
        list(source(path, text_field="id"))
    (tmp_path / "b.parquet").write_text("no parquet at all")
    for use in (list, lambda broken: broken.count):
        with pytest.raises(DataError, match=r"^cannot read '.*b.parquet' as Parquet: .*; check the file$") as caught:
            use(source(tmp_path / "b.parquet"))
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        source(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="the corpus is empty"):
        list(source(write(tmp_path / "d.parquet", text=["", ""])))


def test_text_is_kept_to_the_byte(tmp_path: Path) -> None:
    """Writers do not check that what they call a string is UTF-8."""
    import pyarrow
    from pyarrow import parquet

    offsets, text = np.array([0, 2, 4], "<i4").tobytes(), b"ab\xff\xfe"
    column = pyarrow.StringArray.from_buffers(2, pyarrow.py_buffer(offsets), pyarrow.py_buffer(text))
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert list(source(tmp_path / "a.parquet")) == [b"ab", b"\xff\xfe"]


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_every_kind_of_text_column(tmp_path: Path, kind: str) -> None:
    import pyarrow

    column = pyarrow.array(["é", None, "b", "é"])
    column = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pyarrow, kind)())
    path = write(tmp_path / "a.parquet", text=column)
    assert list(source(path).read()) == ["é".encode(), b"", b"b", "é".encode()]


def test_a_column_of_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", raw=[b"x"], lists=[["x"]], tables=[{"a": "x"}], nothing=[None])
    for column, said in (("raw", "binary"), ("lists", "list<element: string>"), ("tables", "struct<a: string>")):
        with pytest.raises(DataError, match=f"^field '{column}' of '.*a.parquet' holds {said}, not text"):
            list(source(path, text_field=column))
    with pytest.raises(DataError, match="the corpus is empty"):
        list(source(path, text_field="nothing"))


def test_the_size_of_the_text_is_in_the_metadata(tmp_path: Path) -> None:
    texts = [f"{i} " * (i % 50) for i in range(5000)]
    write(tmp_path / "a.parquet", text=texts, other=["x" * 500] * 5000)
    write(tmp_path / "b.parquet", text=texts)
    size = 2 * sum(map(len, texts))
    assert size <= source(tmp_path / "*.parquet").expected_bytes < 1.1 * size
