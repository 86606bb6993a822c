"""Parquet files with a column of text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffusionlm.data.sources.base import Source, check_field, files_fingerprint, find_files
from diffusionlm.errors import DataError
from diffusionlm.params import Strict

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData


class ParquetParams(Strict):
    """A Parquet file, or many by a pattern."""

    name: Literal["parquet"] = "parquet"
    path: str
    """A file, or a glob pattern ("corpus/*.parquet")."""
    text_field: str = "text"
    """The column that holds the text."""


class ParquetSource(Source):
    """One document per row; rows are read a batch at a time, and only the text column."""

    Params = ParquetParams

    def __init__(self, params: ParquetParams) -> None:
        self.params = params
        self.files = find_files(params.path)

    def read(self) -> Iterator[bytes]:
        """Yield the text of every row in order, to the byte; a null is an empty document.

        Raises:
            DataError: A file is not Parquet, or has no such text column.
        """
        for file in self.files:
            with _readable(file):
                yield from self._documents(file)

    def _documents(self, file: Path) -> Iterator[bytes]:
        from pyarrow import parquet

        field = self.params.text_field
        with parquet.ParquetFile(file) as table:
            check_field(table.schema_arrow.names, field, repr(str(file)))
            for batch in table.iter_batches(batch_size=1024, columns=[field]):
                yield from _texts(batch.column(0), field, repr(str(file)))

    @property
    def count(self) -> int:
        """The number of rows, from the files' own metadata."""
        from pyarrow import parquet

        rows = 0
        for file in self.files:
            with _readable(file):
                rows += parquet.read_metadata(file).num_rows
        return rows

    @property
    def expected_bytes(self) -> int:
        """The size of the column before compression, from the files' own metadata."""
        from pyarrow import parquet

        size = 0
        for file in self.files:
            with _readable(file):
                size += _column_bytes(parquet.read_metadata(file), self.params.text_field)
        return size

    @property
    def fingerprint(self) -> str:
        """By path, size and time of last change of every file."""
        return files_fingerprint(self.params, self.files)

    def describe(self) -> str:
        """Name the file or pattern."""
        return f"Parquet {self.params.path!r}"


def _texts(column: Any, field: str, where: str) -> Iterator[bytes]:
    """Yield the texts of an Arrow column as the bytes that they are: writers do not check that those are UTF-8."""
    import pyarrow

    types = pyarrow.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type):
        column = column.cast(pyarrow.binary())
    elif types.is_large_string(column.type) or types.is_string_view(column.type):
        column = column.cast(pyarrow.large_binary())
    elif not types.is_null(column.type):
        raise DataError(f"field {field!r} of {where} holds {column.type}, not text; set text_field")
    for text in column.to_pylist():
        yield b"" if text is None else text


def _column_bytes(metadata: FileMetaData, field: str) -> int:
    """Return the size of a column in all row groups, with a few bytes for each row."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    columns = (group.column(j) for group in groups for j in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == field)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what pyarrow raises about a file into one line."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot read {str(file)!r} as Parquet: {reason}; check the file") from None
