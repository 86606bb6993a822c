"""``flowlm train-tokenizer``: its files are there together or not at all, and what was counted outlives it."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffusionlm.data.counted import Counted
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import BPERecipe, BPETokenizer, load_tokenizer
from diffusionlm.tokenizer.train import BPETraining
from diffusionlm.training.signals import Terminated
from diffusionlm.workflows import count_corpus
from diffusionlm.workflows import train_tokenizer as train_workflow
from diffusionlm.workflows.count_corpus import CorpusReader
from diffusionlm.workflows.output_folder import Left
from diffusionlm.workflows.params import TokenizerTrainParams
from diffusionlm.workflows.run_lock import lock_folder
from diffusionlm.workflows.train_tokenizer import train_tokenizer
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


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cut_off(monkeypatch: pytest.MonkeyPatch, wanted: TokenizerTrainParams, after: int, error: BaseException) -> None:
    """Run until so many documents have been saved one by one."""

    def end(self: CorpusReader) -> None:
        real(self)
        if self.documents >= after:
            raise error

    real = CorpusReader.save
    with monkeypatch.context() as patch:
        patch.setattr(CorpusReader, "save", end)
        with pytest.raises(type(error) if not isinstance(error, OSError) else DataError):
            train_tokenizer(wanted.model_copy(update={"save_seconds": 1e-9}))


@pytest.fixture(autouse=True)
def _save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_corpus, "SAVING_SHARE", 1e9)


@pytest.mark.parametrize("there", [False, True])
def test_cut_off_and_gone_on(tmp_path, monkeypatch, capsys, there):
    wanted = params(tmp_path)
    whole = train_tokenizer(wanted.model_copy(update={"output": tmp_path / "whole"}))
    if there:
        wanted.output.mkdir()
    cut_off(monkeypatch, wanted, 7, Terminated(signal.SIGTERM))
    assert set(files(wanted.output)) == {"journal.json", "words.bin"}
    line = "the words counted so far are kept; to go on: the same command with --resume auto"
    assert line in capsys.readouterr().err.splitlines()
    with pytest.raises(DataError) as caught:
        train_tokenizer(wanted)
    assert str(caught.value) == (
        f"output folder {str(wanted.output)!r} is not empty: it holds an unfinished tokenizer; add --resume auto to "
        "go on, choose another one, or remove it"
    )
    again = wanted.model_copy(update={"resume": "auto"})
    cut_off(monkeypatch, again, 20, OSError(errno.ENOSPC, "No space left on device"))
    assert "words: going on after 7 documents, 0.0 MB" in capsys.readouterr().err
    train_tokenizer(again)
    assert "words: going on after 20 documents, 0.0 MB" in capsys.readouterr().err
    assert files(wanted.output) == files(whole.folder)


def test_a_full_disk_says_how_to_go_on(tmp_path, monkeypatch):
    wanted = params(tmp_path)

    def full(folder: Path, counted: Counted) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def run(words: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(count_corpus, "write_counted", full)
            with pytest.raises(DataError) as caught:
                train_tokenizer(wanted.model_copy(update={"save_seconds": 1e-9, "resume": "auto"}))
        reason = "no space left on the device"
        assert str(caught.value) == f"cannot write to {str(wanted.output)!r}: {reason}; {words}"

    run("nothing was counted: mend that, and run the same command again")
    assert not wanted.output.exists()
    cut_off(monkeypatch, wanted, 3, KeyboardInterrupt())
    run("the words counted so far are kept: mend that, and the same command with --resume auto goes on")


def test_a_signal_while_merging_saves_all_that_was_counted(tmp_path, monkeypatch, capsys):
    wanted = params(tmp_path)

    def interrupted(self: BPETraining) -> BPETokenizer:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BPETraining, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_tokenizer(wanted)
    train_tokenizer(wanted.model_copy(update={"resume": "auto"}))
    assert "words: going on after 40 documents" in capsys.readouterr().err


@pytest.mark.parametrize("at", range(1, 9))
def test_ended_at_any_rename_it_goes_on_to_the_same_bytes(tmp_path, monkeypatch, at):
    """The journal, the words, each file of the tokenizer: every one appears by a rename."""
    wanted = params(tmp_path).model_copy(update={"resume": "auto"})
    whole = train_tokenizer(wanted.model_copy(update={"output": tmp_path / "whole"}))
    cut_off(monkeypatch, wanted, 5, KeyboardInterrupt())
    real, done = Path.replace, []

    def replace(path: Path, target: Path) -> Path:
        done.append(target.name)
        if len(done) == at:
            raise Killed
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        patch.setattr(train_workflow, "_leave", lambda output, existed: Left("", False))
        if at <= 7:  # journal, five files, journal
            with pytest.raises(Killed):
                train_tokenizer(wanted)
        else:
            train_tokenizer(wanted)
            assert len(done) == 7
    train_tokenizer(wanted)
    assert files(wanted.output) == files(whole.folder)


class Killed(BaseException):
    """Stands in for the end of a process."""


def test_what_is_finished_is_neither_made_again_nor_overwritten(tmp_path, monkeypatch):
    wanted = params(tmp_path)
    done = train_tokenizer(wanted)
    before = {path: path.stat().st_mtime_ns for path in wanted.output.iterdir()}
    with pytest.raises(DataError, match=r"it holds a finished tokenizer; choose another one, or remove it$"):
        train_tokenizer(wanted)
    monkeypatch.setattr(BPERecipe, "training", lambda self: pytest.fail("trained again"))
    assert train_tokenizer(wanted.model_copy(update={"resume": "auto"})).vocab_size == done.vocab_size
    assert {path: path.stat().st_mtime_ns for path in wanted.output.iterdir()} == before


def test_damaged_words_are_named_and_counted_anew(tmp_path, monkeypatch, capsys):
    wanted = params(tmp_path)
    whole = train_tokenizer(wanted.model_copy(update={"output": tmp_path / "whole"}))
    cut_off(monkeypatch, wanted, 7, KeyboardInterrupt())
    words = wanted.output / "words.bin"
    words.write_bytes(words.read_bytes()[:-1])
    capsys.readouterr()
    train_tokenizer(wanted.model_copy(update={"resume": "auto"}))
    line = f"{str(words)!r} is damaged: its SHA-256 is not the recorded one; counting starts anew"
    assert line in capsys.readouterr().err.splitlines()
    assert files(wanted.output) == files(whole.folder)


def test_a_damaged_journal_is_refused(tmp_path, monkeypatch):
    wanted = params(tmp_path)
    cut_off(monkeypatch, wanted, 7, KeyboardInterrupt())
    (wanted.output / "journal.json").write_text("{")
    before = files(wanted.output)
    with pytest.raises(DataError, match=r"journal.json' is damaged; remove the folder and train the tokenizer again$"):
        train_tokenizer(wanted.model_copy(update={"resume": "auto"}))
    assert files(wanted.output) == before


@pytest.mark.parametrize("finished", [False, True])
def test_another_configuration_or_text_does_not_go_on(tmp_path, monkeypatch, finished):
    wanted = params(tmp_path)
    if finished:
        train_tokenizer(wanted)
    else:
        cut_off(monkeypatch, wanted, 7, KeyboardInterrupt())
    before = files(wanted.output)
    again = wanted.model_copy(update={"resume": "auto"})
    other = again.model_copy(update={"tokenizer": again.tokenizer.model_copy(update={"vocab_size": 290})})
    refused = (
        "cannot go on with the tokenizer in .*: {}.*; give what it was begun with, or choose another output folder$"
    )
    with pytest.raises(DataError, match=refused.format("tokenizer.vocab_size was 300, now it is 290")):
        train_tokenizer(other)
    (tmp_path / "text.txt").write_text((tmp_path / "text.txt").read_text() + "<|endoftext|>more")
    with pytest.raises(DataError, match=refused.format("corpus changed from")):
        train_tokenizer(again)
    assert files(wanted.output) == before


def test_resuming_from_nothing_begins_and_other_things_are_left_alone(tmp_path):
    wanted = params(tmp_path).model_copy(update={"resume": "auto"})
    left = wanted.output / ".tokenizer.tmp"
    left.mkdir(parents=True)
    (left / "vocab.json").write_text("{")
    train_tokenizer(wanted)
    assert not left.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(DataError, match="is not empty"):
        train_tokenizer(wanted.model_copy(update={"output": tmp_path / "mine"}))
    assert files(tmp_path / "mine") == {"notes.txt": b"kept"}


def test_two_at_once(tmp_path):
    wanted = params(tmp_path).model_copy(update={"resume": "auto"})
    wanted.output.mkdir()
    descriptor = lock_folder(wanted.output)
    assert descriptor is not None
    with pytest.raises(DataError, match="is in use by another run; wait for its end"):
        train_tokenizer(wanted)
    os.close(descriptor)
    train_tokenizer(wanted)


COMMAND = (
    "from diffusionlm.workflows import count_corpus; from cli import train_tokenizer; "
    "count_corpus.SAVING_SHARE = 1e9; train_tokenizer.run()"
)


def saved_at(folder: Path) -> int | None:
    path = folder / "words.bin"
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(tmp_path, seed):
    """The real command, SIGKILL at a random moment, again and again, one SIGTERM; the files of an unbroken run."""
    rng = random.Random(seed)
    text = write_text(tmp_path, documents=40_000, seed=seed)
    source = f'source={{name="text",path="{text}"}}'
    words = ["--set", source, "--set", "tokenizer.vocab_size=300", "--set", "save_seconds=0.01"]
    command = [sys.executable, "-c", COMMAND, *words, "--output"]
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    out, cut_off = tmp_path / "out", 0
    for how in (*[signal.SIGKILL] * 4, signal.SIGTERM):
        wanted = rng.randint(1, 6)  # time alone would mostly hit the start of the program: so many saves first
        with subprocess.Popen([*command, out, "--resume", "auto"], stdout=subprocess.DEVNULL) as process:
            saved = {before := saved_at(out)}
            while process.poll() is None and len(saved - {before, None}) < wanted:
                saved.add(saved_at(out))
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.02))
            process.send_signal(how)
        if process.returncode == 0:  # on a busy machine it may be done before it is killed
            break
        assert process.returncode == (-how if how == signal.SIGKILL else 128 + how)
        cut_off += 1
    assert cut_off > 0, "it was never cut off"
    subprocess.run([*command, out, "--resume", "auto"], check=True, capture_output=True)
    assert files(out) == files(tmp_path / "whole")
