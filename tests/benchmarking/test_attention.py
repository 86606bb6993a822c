"""The attention bench runs both implementations at a tiny shape."""

from benchmarking import attention
from benchmarking.rows import read
from diffusionlm.kernels import attention as kernel


def test_both_implementations(one_process, tmp_path, monkeypatch, capsys):
    rows = attention.bench((8,), ("bf16",), tokens=16, repeats=1, calls=1)
    assert [(row.contender, row.shape, row.precision) for row in rows] == [
        ("matmul", "B2 H4 T8 d64", "bf16"),
        ("sdpa", "B2 H4 T8 d64", "bf16"),
    ]
    assert rows[0].ratio_p50 > 0
    assert rows[1].ratio_p50 is None
    monkeypatch.setattr(attention, "bench", lambda: rows)
    path = tmp_path / "attention.csv"
    attention.main([str(path)])
    assert [row.contender for row in read(path)] == ["matmul", "sdpa"]
    assert "B2 H4 T8 d64" in capsys.readouterr().err


def test_lengths_lie_on_both_sides_of_the_rule():
    assert min(attention.LENGTHS) < kernel.SHORT_ROW < max(attention.LENGTHS)
