"""The bench of row losses runs every contender at a tiny shape."""

from benchmarking.linear_row_loss import CONTENDERS, bench


def test_every_contender(one_process):
    rows = bench(((64, 8, 50),), ("fp32",), repeats=1, calls=1)
    assert tuple(row.contender for row in rows) == CONTENDERS
    assert {row.shape for row in rows} == {"N64 D8 K50"}
