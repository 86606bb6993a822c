"""What a user can get wrong, through the real commands: one line, exit code 2, no traceback, nothing overwritten."""

from __future__ import annotations

import errno
import shutil

import pytest
from typer.testing import CliRunner

from cli import eval as evaluation
from cli import infer, infill, inspect, train, train_tokenizer
from diffusionlm.checkpoint.manifest import MANIFEST, record_files, render_manifest


def invoke(app, *arguments):
    return CliRunner().invoke(app, [str(word) for word in arguments])


def refused(result):
    """Return the one line that a refused command said."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.endswith(f"{lines[0]}\n")
    return lines[0]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("<|endoftext|>".join(f"def add_{i}(a, b):\n    return a + b + {i}\n" for i in range(60)))
    return path


def settings(corpus, folder, *more):
    pairs = [
        f"run.folder={folder}",
        "run.debug=true",
        "training.steps=2",
        "training.batch_size=2",
        "tokenizer.name=byte",
        f'data.source={{name="text",path="{corpus}"}}',
        "data.validation_fraction=0.3",
        "data.cache=none",
        "data.prefetch=0",
        *more,
    ]
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Return a run folder with a trained model."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = invoke(train.app, *settings(corpus, folder))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder}/checkpoints/step-2\n"
    return folder


def test_an_empty_corpus(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    line = refused(invoke(train.app, *settings(tmp_path / "empty.txt", tmp_path / "run")))
    assert "empty.txt" in line


def test_a_corpus_that_is_not_there(tmp_path):
    line = refused(invoke(train.app, *settings(tmp_path / "absent.txt", tmp_path / "run")))
    assert "absent.txt" in line


def test_a_vocabulary_too_small(corpus, tmp_path):
    source = f'source={{name="text",path="{corpus}"}}'
    size = "tokenizer.vocab_size=100"
    line = refused(invoke(train_tokenizer.app, "--set", source, "--set", size, "--output", tmp_path / "tokenizer"))
    assert "100" in line
    assert "257" in line


@pytest.mark.parametrize("mask_id", [3, 100_000])
def test_a_mask_id_that_is_a_token_or_no_row(corpus, tmp_path, mask_id):
    line = refused(invoke(train.app, *settings(corpus, tmp_path / "run", f"process.mask_id={mask_id}")))
    assert f"mask id {mask_id}" in line


def test_a_run_folder_that_is_not_empty(corpus, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    line = refused(invoke(train.app, *settings(corpus, trained)))
    assert str(trained) in line
    assert "--resume auto" in line
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_a_folder_of_other_things(corpus, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("irreplaceable")
    line = refused(invoke(train.app, *settings(corpus, tmp_path / "run")))
    assert "not empty" in line
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_checkpoint_of_another_format(trained, tmp_path):
    folder = shutil.copytree(trained / "checkpoints" / "step-2", tmp_path / "step-2")
    (folder / MANIFEST).write_bytes(render_manifest(record_files(folder), version=999))
    line = refused(invoke(inspect.app, folder))
    assert "format version 999" in line


def test_a_checkpoint_with_a_flipped_bit(trained, tmp_path):
    folder = shutil.copytree(trained / "checkpoints" / "step-2", tmp_path / "step-2")
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert "model.safetensors" in refused(invoke(inspect.app, folder))


def test_a_checkpoint_that_is_not_there(tmp_path):
    assert "does not exist" in refused(invoke(inspect.app, tmp_path / "absent"))


def test_a_prompt_longer_than_the_context(trained):
    assert "context" in refused(invoke(infer.app, "--checkpoint", trained, "--prompt", "x" * 100))


def test_a_hole_without_a_length(trained):
    assert "<|hole|>" in refused(invoke(infill.app, "--checkpoint", trained, "a<|hole|>b"))


@pytest.mark.parametrize("app", [infer.app, evaluation.app])
def test_a_file_that_is_not_there(app, trained, tmp_path):
    option = "--prompts-file" if app is infer.app else "--file"
    assert "absent.txt" in refused(invoke(app, "--checkpoint", trained, option, tmp_path / "absent.txt"))


def test_a_sampler_by_a_wrong_name(trained):
    assert "did you mean 'ancestral'" in refused(invoke(infer.app, "--checkpoint", trained, "--sampler", "ancestrel"))


def test_no_space_left_on_the_device(corpus, tmp_path, monkeypatch):
    """The device fills up while the checkpoint is written."""
    from diffusionlm.checkpoint import contents

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(contents, "write_tensors", full)
    line = refused(invoke(train.app, *settings(corpus, tmp_path / "run")))
    assert "no space left on the device" in line
    assert str(tmp_path / "run") in line


def test_eval_does_without_a_cache_that_cannot_be_written(corpus, tmp_path, monkeypatch):
    """A checkpoint may be scored on a machine where nothing can be kept."""
    folder = tmp_path / "run"
    assert invoke(train.app, *settings(corpus, folder, f"data.cache={tmp_path / 'cache'}")).exit_code == 0
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file in its place")
    result = invoke(evaluation.app, "--checkpoint", folder, "--documents", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "bits per byte" in result.stdout


def test_a_run_that_ends_before_its_first_step_can_be_started_again(corpus, tmp_path, monkeypatch):
    """The device is full at first; nothing half-written then stands in the way, whichever file it was."""
    from diffusionlm.workflows import run_folder

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    real = run_folder.Path.write_text
    for name in ("run.json", "config.toml"):
        folder = tmp_path / name

        def full_for_one(path, *arguments, name=name, **options):
            return full() if name in path.name else real(path, *arguments, **options)

        monkeypatch.setattr(run_folder.Path, "write_text", full_for_one)
        refused(invoke(train.app, *settings(corpus, folder)))
        monkeypatch.undo()
        assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]
        assert invoke(train.app, *settings(corpus, folder), "--resume", "auto").exit_code == 0
