"""The bench of the tokenizer on a tiny text: ids first, then a row for every task of every library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarking import tokenizer as bench
from benchmarking import tokenizer_libraries as libraries
from benchmarking.rows import TokenizerRow, columns, read
from diffusionlm.errors import DataError, TokenizerError
from diffusionlm.workflows.params import BenchTokenizerParams
from tests.diffusionlm.tokenizer.conftest import TEXT

RIVALS = ("tokenizers", "tiktoken", "rustbpe")
TEXTS = [TEXT, "", TEXT.upper() + " été 你好", "a <|endoftext|> b"]


@pytest.fixture
def tiny(one_process, monkeypatch: pytest.MonkeyPatch):
    """Contenders in this process, and starts that nobody waits for."""
    started: list[tuple[str, bool]] = []

    def start(name: str, folder: Path, cache: Path, *, compiled: bool) -> float:
        assert (folder / "ranks.tiktoken").exists()
        started.append((name, compiled))
        return 2.0 if name == "flowlm" else 1.0

    monkeypatch.setattr(bench, "start", start)
    monkeypatch.setattr(bench, "one_thread", lambda: None)
    return started


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, one in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(one, encoding="utf-8", newline="")
    return folder


def params(text: Path, **values) -> BenchTokenizerParams:
    source = {"name": "folder", "path": str(text)}
    return BenchTokenizerParams.model_validate(
        {"source": source, "vocab_size": 300, "warmup": 0, "repeats": 2, "rivals": RIVALS} | values
    )


def have(*names: str) -> None:
    for name in names:
        pytest.importorskip(name)


def test_every_task_of_every_library(tiny, text, tmp_path: Path, capsys) -> None:
    have(*RIVALS)
    path = tmp_path / "rows.csv"
    result = bench.bench_tokenizer(params(text, output=path))
    both = ["flowlm", "tokenizers", "tiktoken"]
    assert [(row.task, row.contender) for row in result.rows] == [
        *(("train", name) for name in ("flowlm", "tokenizers", "rustbpe")),
        *((task, name) for task in ("encode", "encode_batch", "decode") for name in both),
        ("start_cold", "flowlm"),
        ("start_short", "flowlm"),
        *(("start", name) for name in both),
    ]
    assert [row.task for row in read(path)] == [row.task for row in result.rows]
    assert tiny == [("flowlm", True)] * 2 + [("flowlm", False), *((name, True) for name in both)] * 2
    for row in result.rows:
        assert (row.ratio_p50 is None) == (row.contender == "flowlm")
        assert (row.vocabulary, row.repeats) == (300, 1 if row.task == "start_cold" else 2)
        if row.mb_per_second is not None:
            assert row.mb_per_second == pytest.approx(row.megabytes / row.p50_ms * 1000)
    assert result.rows[-1].ratio_p50 == 0.5  # half our time
    assert result.agreed == ("flowlm", "tokenizers", "tiktoken")
    assert result.documents == 3
    assert {row.corpus for row in result.rows} == {"folder"}  # no path: rows are kept
    assert result.rows[0].megabytes == pytest.approx(sum(len(one.encode()) for one in TEXTS) / 1e6)
    assert all(0.5 < share <= 1 for share in result.alike.values())
    assert set(result.alike) == {"tokenizers", "rustbpe"}

    said = capsys.readouterr().err
    assert said.index("the same by flowlm, tokenizers, tiktoken") < said.index("MB/s")
    line = result.report()
    assert "\n" not in line
    assert set(json.loads(line)["rows"][0]) == set(columns(TokenizerRow))


@pytest.mark.parametrize("wrong", ["ids", "text"])
def test_other_ids_end_it_before_anything_is_timed(wrong: str, tiny, text, monkeypatch, tmp_path: Path, capsys) -> None:
    have("tiktoken")

    class Wrong(libraries.Tiktoken):
        def encode(self, texts):
            ids = super().encode(texts)
            return [[*one[:3], 7, *one[4:]] for one in ids] if wrong == "ids" else ids

        def decode(self, ids):
            return [one + " " for one in super().decode(ids)]

    monkeypatch.setitem(libraries.LIBRARIES, "tiktoken", Wrong)
    monkeypatch.setattr(bench, "in_turns", lambda *_, **__: pytest.fail("it was timed"))
    expected = {
        "ids": "tiktoken gives other ids than flowlm for document 0, from token 3 on; nothing was timed",
        "text": "tiktoken does not give back the text of document 0; nothing was timed",
    }
    with pytest.raises(TokenizerError) as caught:
        bench.bench_tokenizer(params(text, rivals=("tiktoken",), output=tmp_path / "rows.csv"))
    assert str(caught.value) == expected[wrong]
    assert not (tmp_path / "rows.csv").exists()
    assert "MB/s" not in capsys.readouterr().err


def test_what_is_not_installed_is_left_out_in_one_line(tiny, text, monkeypatch, capsys) -> None:
    monkeypatch.setattr(bench, "installed", lambda name: False)
    result = bench.bench_tokenizer(params(text, rivals=("rustbpe", "tiktoken"), cold_starts=0))
    assert {row.contender for row in result.rows} == {"flowlm"}
    assert "start_cold" not in {row.task for row in result.rows}
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [
        f"{name} is not installed and left out; the dev group has it (uv sync)" for name in ("rustbpe", "tiktoken")
    ]


def test_no_text(tiny, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="no text in folder"):
        bench.bench_tokenizer(params(tmp_path))


def test_a_file_of_another_kind_is_refused_first(text, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n")
    monkeypatch.setattr(bench, "train_bpe", lambda *_: pytest.fail("it ran"))
    with pytest.raises(DataError, match="name another file"):
        bench.bench_tokenizer(params(text, output=path))


@pytest.mark.slow
def test_in_processes_of_their_own(text) -> None:
    """The command's real way, a cold start included."""
    have(*RIVALS)
    result = bench.bench_tokenizer(params(text, repeats=1))
    for row in result.rows:
        assert row.peak_mb >= row.base_mb
        assert (row.base_mb > 0) == (not row.task.startswith("start"))
    cold, short, warm = (row.p50_ms for row in result.rows if row.contender == "flowlm" and "start" in row.task)
    assert cold > warm > short
