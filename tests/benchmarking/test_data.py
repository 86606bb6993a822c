"""The loader's bench on a few tokens."""

import json

import pytest
from pydantic import ValidationError

from benchmarking.data import Loading, bench_data, write_synthetic
from benchmarking.report import markdown
from benchmarking.rows import read
from diffusionlm.data.rows import RowLoader
from diffusionlm.errors import DataError
from diffusionlm.workflows.params import BenchDataParams


def params(**values):
    fixed = {"tokens": 3000, "document_tokens": 40, "shard_tokens": 1000, "context_length": 16, "batch_size": 4}
    return BenchDataParams.model_validate({**fixed, "steps": 5, "warmup": 0, "repeats": 2, **values})


def test_both_ways_are_measured_from_several_shards(one_process, tmp_path, capsys):
    path = tmp_path / "loader.csv"
    result = bench_data(params(output=path))
    assert [row.contender for row in result.rows] == ["compiled", "numpy"]
    for row in result.rows:
        assert (row.shards, row.context, row.batch, row.steps) == (3, 16, 4, 5)
        assert 2500 < row.tokens <= 3000
        assert 0 <= row.waited_share <= 1
        assert row.tokens_per_second == pytest.approx(64 / row.p50_ms * 1000)
    assert len(read(path)) == 2
    assert "waited" in capsys.readouterr().err
    assert "waited for data" in markdown(result.rows)
    assert len(json.loads(result.report())["rows"]) == 2


def test_a_step_that_takes_longer_waits_less(tmp_path):
    write_synthetic(tmp_path, params())
    slow = Loading(params(step_ms=5.0), tmp_path, compiled=False)
    slow.run()
    assert slow.seconds >= 0.025
    assert slow.facts()["waited_share"] < 0.9
    assert slow.cursor == {"row": 20}


def test_a_wrong_order_is_not_timed(tmp_path, monkeypatch):
    write_synthetic(tmp_path, params())
    right = RowLoader.batch
    monkeypatch.setattr(RowLoader, "batch", lambda self, rows: right(self, rows[::-1]))
    with pytest.raises(AssertionError, match="differs from the rows of the global order"):
        Loading(params(), tmp_path, compiled=False)


def test_shards_that_are_not_there(one_process, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        bench_data(params(shards=tmp_path / "nowhere"))


def test_tokens_that_fill_no_rows_are_refused():
    with pytest.raises(ValidationError, match="tokens: 10 fill no two rows of context_length 1024; set 2048 or more"):
        BenchDataParams(tokens=10)
