"""The schema of the kept rows, and that every row in the repository fits it."""

from dataclasses import asdict, fields
from pathlib import Path

import pytest

from benchmarking.rows import (
    KINDS,
    KernelRow,
    SampleRow,
    TokenizerRow,
    TrainRow,
    append,
    check_header,
    columns,
    here,
    read,
)
from diffusionlm.errors import DataError

RESULTS = Path(__file__).parents[2] / "benchmarking" / "results"


def a_row(kind, **values):
    """Return a row with a value of the right type in every column."""
    of_type = {"str": 'a, "b"', "int": 3, "float": 1.5, "bool": True, "float | None": None}
    return kind(**{field.name: of_type[str(field.type)] for field in fields(kind)} | values)


def test_the_schema_does_not_change_unseen():
    """Kept rows and whoever reads them depend on these names; a change here needs a change of every kept file."""
    where = ["date", "commit", "device", "threads", "torch", "python"]
    quantiles = ["repeats", "p20_ms", "p50_ms", "p80_ms"]
    ratio = ["ratio_p20", "ratio_p50", "ratio_p80"]
    assert columns(TrainRow) == [
        *where,
        *("bench", "contender", "precision", "compiled"),
        *("layers", "width", "heads", "hidden", "vocabulary", "context", "batch", "parameters"),
        *quantiles,
        *("tokens_per_second", "base_mb", "peak_mb", "ceiling_gflops", "gflop", "share", "dense_share"),
        *ratio,
    ]
    assert columns(SampleRow) == [
        *where,
        *("bench", "contender", "precision", "weights"),
        *("layers", "width", "heads", "hidden", "vocabulary", "context", "batch", "length", "steps"),
        *(quantiles[0], "nfe", *quantiles[1:]),
        *("tokens_per_second", "base_mb", "peak_mb"),
    ]
    assert columns(KernelRow) == [
        *where,
        *("bench", "contender", "precision", "shape"),
        *quantiles,
        *("base_mb", "peak_mb"),
        *ratio,
    ]
    assert columns(TokenizerRow) == [
        *where,
        *("bench", "contender", "version", "task", "corpus", "megabytes", "vocabulary"),
        *quantiles,
        *("mb_per_second", "base_mb", "peak_mb"),
        *ratio,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_written_and_read_back(kind, tmp_path):
    path = tmp_path / "new" / "rows.csv"
    first, second = a_row(kind), a_row(kind, p50_ms=12.25)
    append(path, [first])
    append(path, [second, first])
    assert read(path) == [first, second, first]
    assert path.read_text().count("date,") == 1


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    path = tmp_path / "rows.csv"
    append(path, [a_row(TrainRow)])
    before = path.read_bytes()
    with pytest.raises(DataError, match="does not hold SampleRow rows"):
        append(path, [a_row(SampleRow)])
    assert path.read_bytes() == before
    check_header(path, TrainRow)
    check_header(tmp_path / "absent.csv", SampleRow)


@pytest.mark.parametrize(("old", "new"), [("true", "yes"), ("1.5", "fast"), (",3,", ",,")])
def test_a_row_that_does_not_fit_is_named(old, new, tmp_path):
    path = tmp_path / "rows.csv"
    append(path, [a_row(TrainRow)])
    header, line = path.read_text().splitlines()
    assert old in line
    path.write_text(f"{header}\n{line.replace(old, new, 1)}\n")
    with pytest.raises(DataError, match=r"rows\.csv:2: \w+ = "):
        read(path)


def test_a_short_row_and_an_unknown_header_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{','.join(columns(TrainRow))}\n2026-01-01,abc\n")
    with pytest.raises(DataError, match="device"):
        read(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="unknown header"):
        read(path)


def test_the_origin_is_complete():
    origin = here("", 2)
    assert set(origin) == set(columns(TrainRow)[:6])
    assert all(str(value) for name, value in origin.items() if name != "commit")
    assert here("a GPU", 2)["device"] == "a GPU"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.csv")), ids=lambda path: path.name)
def test_every_kept_file_fits(path):
    rows = read(path)
    assert rows
    for row in rows:
        assert row.date.endswith("Z")
        assert 0 < row.p20_ms <= row.p50_ms <= row.p80_ms
        assert row.peak_mb >= row.base_mb >= 0
        assert "" not in [value for name, value in asdict(row).items() if name != "commit"]
