"""``flowlm train-tokenizer``: what it says while it reads, and that its files are there together or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffusionlm.tokenizer import BPETokenizer, load_tokenizer
from diffusionlm.workflows.params import TokenizerTrainParams
from diffusionlm.workflows.train_tokenizer import REPORTED_BYTES, reported, train_tokenizer
from tests.diffusionlm.workflows.runs import write_text


def params(folder: Path) -> TokenizerTrainParams:
    source = {"name": "text", "path": str(write_text(folder))}
    tokenizer = {"name": "bpe", "vocab_size": 300}
    return TokenizerTrainParams.model_validate({"source": source, "tokenizer": tokenizer, "output": folder / "out"})


@pytest.mark.parametrize("there", [False, True])
def test_it_says_time_and_memory_and_leaves_nothing_half_written(tmp_path, capsys, there):
    wanted = params(tmp_path)
    if there:
        wanted.output.mkdir()
    report = train_tokenizer(wanted)
    assert load_tokenizer(report.folder).vocab_size == report.vocab_size
    assert report.peak_mib > 0
    assert f"{report.vocab_size} tokens from text" in (said := capsys.readouterr().err)
    assert "s, peak memory " in said
    assert {path.name for path in tmp_path.iterdir()} == {"out", "text.txt"}


@pytest.mark.parametrize("there", [False, True])
def test_a_save_that_is_cut_off_leaves_no_folder_behind(tmp_path, monkeypatch, there):
    wanted = params(tmp_path)
    if there:
        wanted.output.mkdir()

    def cut_off(self: BPETokenizer, folder: Path) -> None:
        if not there:
            folder.mkdir()
            (folder / "vocab.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(BPETokenizer, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(wanted)
    assert [path.name for path in tmp_path.iterdir() if path.name != "text.txt"] == (["out"] if there else [])


def test_what_is_taken_is_told_at_each_megabyte_and_at_the_end():
    told: list[tuple[int, int | None, int]] = []
    documents = [b"a" * (REPORTED_BYTES // 2)] * 5
    assert list(reported(documents, lambda *so_far: told.append(so_far))) == documents
    assert told == [(n, None, n * REPORTED_BYTES // 2) for n in (2, 4, 5)]
