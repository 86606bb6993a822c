"""Kept rows as Markdown."""

import pytest

from benchmarking.report import RESULTS, main, report
from benchmarking.rows import KINDS, SampleRow, TrainRow, append
from tests.benchmarking.test_rows import a_row


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_for_each_kind(kind, tmp_path):
    append(tmp_path / "some_rows.csv", [a_row(kind), a_row(kind, p50_ms=1234.5)])
    title, empty, header, rule, first, second = report(tmp_path).splitlines()
    assert (title, empty) == ("### some rows", "")
    assert header.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert "1,234.5" in second


def test_ratio_and_several_files(tmp_path, capsys):
    row = a_row(TrainRow, ratio_p20=1.2, ratio_p50=1.456, ratio_p80=1.7)
    append(tmp_path / "a.csv", [row])
    append(tmp_path / "b.csv", [a_row(SampleRow)])
    main([str(tmp_path)])
    out = capsys.readouterr().out
    assert "**1.46** (1.20 … 1.70)" in out
    assert out.index("### a") < out.index("### b")


def test_no_rows(tmp_path, capsys):
    main([str(tmp_path)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no rows" in captured.err


def test_the_kept_rows_render():
    assert report(RESULTS).count("###") == len(list(RESULTS.glob("*.csv")))
