"""What can be wrong with a text or with shards, through make-data, train-tokenizer, train and data verify."""

from __future__ import annotations

import errno
import json
import shutil

import pytest

from cli import main, make_data, train, train_tokenizer
from diffusionlm.data import make
from tests.cli.test_bad_input import invoke, refused, settings

NOT_UTF8 = b"a text with \xff and \xfe in it, and long enough to be cut"


def text_source(path, **more):
    keys = ",".join(f'{name}="{value}"' for name, value in {"name": "text", "path": path, **more}.items())
    return f"{{{keys}}}"


def making(tmp_path, source, *more):
    pairs = [f"data.source={source}", "tokenizer.name=byte", "data.validation_fraction=0", "data.workers=1", *more]
    return [*(word for pair in pairs for word in ("--set", pair)), "--output", tmp_path / "out"]


def learning(tmp_path, source, *more):
    pairs = [f"source={source}", "tokenizer.vocab_size=258", *more]
    return [*(word for pair in pairs for word in ("--set", pair)), "--output", tmp_path / "out"]


COMMANDS = pytest.mark.parametrize(
    ("app", "words"), [(make_data.app, making), (train_tokenizer.app, learning)], ids=["make-data", "train-tokenizer"]
)


@pytest.fixture
def shards(tmp_path):
    """Return a folder of shards of the byte tokenizer."""
    text = tmp_path / "good.txt"
    text.write_text("<|endoftext|>".join(f"a document with the number {i}" for i in range(40)))
    words = making(tmp_path, text_source(text), "shard_tokens=300", "data.validation_fraction=0.3")
    result = invoke(make_data.app, *words[:-1], tmp_path / "shards")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'shards'}\n"), result.output
    return tmp_path / "shards"


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def replace_tokenizer(folder):
    """Put a tokenizer that did not make the shards in the place of the one that did."""
    from diffusionlm.tokenizer import train_bpe

    shutil.rmtree(folder)
    train_bpe(["some words, some words"] * 3, 260).save(folder)


@COMMANDS
def test_bytes_that_are_not_utf8_are_refused_where_that_is_asked_for(tmp_path, app, words):
    (tmp_path / "text.txt").write_bytes(NOT_UTF8)
    line = refused(invoke(app, *words(tmp_path, text_source(tmp_path / "text.txt", invalid_utf8="error"))))
    assert "text.txt' is not UTF-8 at byte 12; set invalid_utf8 to 'lossless', 'replace' or 'skip'" in line
    assert not (tmp_path / "out").exists()
    line = refused(invoke(app, *words(tmp_path, text_source(tmp_path / "text.txt", invalid_utf8="skip"))))
    assert "holds no text" in line
    line = refused(invoke(app, *words(tmp_path, text_source(tmp_path / "text.txt", invalid_utf8="strict"))))
    assert "invalid_utf8: 'strict' is not allowed" in line


@COMMANDS
@pytest.mark.parametrize("policy", [{}, {"invalid_utf8": "lossless"}, {"invalid_utf8": "replace"}])
def test_bytes_that_are_not_utf8_are_kept_unless_said_otherwise(tmp_path, app, words, policy):
    from diffusionlm.data.shards import open_shards
    from diffusionlm.tokenizer import load_tokenizer

    (tmp_path / "text.txt").write_bytes(NOT_UTF8)
    result = invoke(app, *words(tmp_path, text_source(tmp_path / "text.txt", **policy)))
    assert result.exit_code == 0, result.output
    if app is make_data.app:
        tokens = open_shards(tmp_path / "out" / "train").document(0)[:-1].tolist()
        kept = load_tokenizer(tmp_path / "out" / "train" / "tokenizer").decode_bytes(tokens)
        assert kept == (
            NOT_UTF8.decode(errors="replace").encode() if policy == {"invalid_utf8": "replace"} else NOT_UTF8
        )


@COMMANDS
def test_an_empty_file_and_a_folder_without_text(tmp_path, app, words):
    (tmp_path / "empty.txt").write_text("")
    line = refused(invoke(app, *words(tmp_path, text_source(tmp_path / "empty.txt"))))
    assert "empty.txt' holds no text; give a source with at least one document" in line or "holds no text" in line
    (tmp_path / "folder").mkdir()
    line = refused(invoke(app, *words(tmp_path, text_source(tmp_path / "folder"))))
    assert "is a folder; give a file or a pattern" in line
    source = text_source(tmp_path / "folder", name="folder")
    (tmp_path / "folder" / "image.png").write_bytes(b"\x89PNG")
    assert "has no file that ends in .txt; set suffixes" in refused(invoke(app, *words(tmp_path, source)))
    (tmp_path / "folder" / "nothing.txt").write_text("")
    assert "holds no text" in refused(invoke(app, *words(tmp_path, source)))
    assert not (tmp_path / "out").exists()


@COMMANDS
def test_shards_with_a_flipped_bit(tmp_path, shards, app, words):
    flip(shards / "train" / "shard-00001.bin")
    line = refused(invoke(app, *words(tmp_path, text_source(shards, name="shards"))))
    assert "shard-00001.bin' is damaged: its SHA-256 is not the recorded one; copy or make it again" in line
    assert not (tmp_path / "out").exists()


@COMMANDS
def test_shards_beside_a_tokenizer_that_is_not_theirs(tmp_path, shards, app, words):
    replace_tokenizer(shards / "train" / "tokenizer")
    line = refused(invoke(app, *words(tmp_path, text_source(shards, name="shards"))))
    assert "was made by another tokenizer" in line
    assert not (tmp_path / "out" / "train").exists()


def test_training_on_shards_with_another_tokenizer(tmp_path, shards):
    words = settings("unused", tmp_path / "run", f"data.source={text_source(shards, name='shards')}")
    words += ["--set", "tokenizer.name=bpe", "--set", "tokenizer.vocab_size=258"]
    assert "was made by another tokenizer" in refused(invoke(train.app, *words))


def test_an_output_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("a text")
    words = making(tmp_path, text_source(tmp_path / "text.txt"))

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(make, "write_shard", full)
        line = refused(invoke(make_data.app, *words))
    assert line.endswith(
        "no space left on the device; no shard was finished: mend that, and run the same command again"
    )
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    line = refused(invoke(make_data.app, *words[:-1], tmp_path / "file" / "out"))
    assert "Not a directory; check the path and its permissions" in line
    monkeypatch.setattr("os.access", lambda *_: False)
    line = refused(invoke(make_data.app, *words))
    assert "Permission denied; check the path and its permissions" in line


def test_an_output_that_holds_shards_and_a_wrong_resume(tmp_path, shards):
    (tmp_path / "text.txt").write_text("a text")
    words = [*making(tmp_path, text_source(tmp_path / "text.txt"))[:-1], shards]
    assert "holds finished shards; choose another one, or remove it" in refused(invoke(make_data.app, *words))
    line = refused(invoke(make_data.app, *words, "--resume", "auto"))
    assert "cannot go on with the shards" in line
    assert "--resume: resume: 'latest' is not allowed; allowed: auto" in refused(
        invoke(make_data.app, *words, "--resume", "latest")
    )


def test_a_mixture(tmp_path):
    mixture = 'data.mixture=[{weight=1.0,source={name="text",path="text.txt"}}]'
    line = refused(invoke(make_data.app, "--set", mixture, "--output", tmp_path / "out"))
    assert "make-data writes the shards of one source" in line


# flowlm data verify


def verify(*words):
    result = invoke(main.app, "data", "verify", *words)
    assert result.stderr == "" or result.exit_code == 2
    return result


def test_shards_that_are_well(shards):
    result = verify(shards)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("all well: ")
    assert result.stdout.count("\n") == 1
    record = json.loads(verify(shards, "--json").stdout)
    assert (record["ok"], record["problems"]) == (True, [])
    assert sum(side["documents"] for side in record["folders"].values()) == 40
    assert verify(shards / "validation", "--tokenizer", shards / "train" / "tokenizer").exit_code == 0


def test_every_problem_is_a_line(tmp_path, shards):
    flip(shards / "train" / "shard-00000.bin")
    (shards / "train" / "shard-00002.bin").unlink()
    replace_tokenizer(shards / "validation" / "tokenizer")
    result = verify(shards)
    assert (result.exit_code, result.stderr) == (2, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert ["is damaged" in lines[0], "cannot read shard" in lines[1], "is not the one that made" in lines[2]] == [
        True
    ] * 3
    record = json.loads(verify(shards, "--json").stdout)
    assert record["problems"] == lines


def test_a_validation_side_that_is_lost(shards):
    shutil.rmtree(shards / "validation")
    result = verify(shards)
    assert (result.exit_code, result.stderr) == (2, "")
    said = f"folder {str(shards)!r} has no validation side, and one was made; copy or make it again\n"
    assert result.stdout == said


def test_sides_of_different_tokenizers(tmp_path, shards):
    (tmp_path / "text.txt").write_text("a text, a text")
    other = making(tmp_path, text_source(tmp_path / "text.txt"), "tokenizer={name='bpe',vocab_size=258}")
    assert invoke(make_data.app, *other).exit_code == 0
    shutil.rmtree(shards / "validation")
    shutil.copytree(tmp_path / "out" / "train", shards / "validation")
    result = verify(shards)
    assert result.exit_code == 2
    assert result.stdout == f"the sides of {str(shards)!r} are of different tokenizers; make them again\n"


def test_shards_of_another_tokenizer_than_a_checkpoints(tmp_path, shards):
    text = tmp_path / "good.txt"
    assert invoke(train.app, *settings(text, tmp_path / "run")).exit_code == 0
    assert verify(shards, "--checkpoint", tmp_path / "run").exit_code == 0
    other = ["--set", "tokenizer={name='bpe',vocab_size=258}"]
    assert invoke(train.app, *settings(text, tmp_path / "other"), *other).exit_code == 0
    result = verify(shards, "--checkpoint", tmp_path / "other")
    assert result.exit_code == 2
    assert result.stdout.count("were made by another tokenizer") == result.stdout.count("\n") == 2
    result = verify(shards / "train", "--tokenizer", tmp_path / "other" / "tokenizer")
    assert result.exit_code == 2
    assert result.stdout.count("were made by another tokenizer") == 1


def test_nothing_to_verify(tmp_path, shards):
    assert "does not exist; make it with flowlm-make-data" in refused(verify(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    result = verify(tmp_path / "empty")
    assert result.exit_code == 2
    assert "has no index.json" in result.stdout
    shutil.rmtree(shards / "train")
    assert "has no training side: it was not finished" in refused(verify(shards))
    assert "no tokenizer at" in refused(verify(shards / "validation", "--tokenizer", tmp_path / "absent"))
