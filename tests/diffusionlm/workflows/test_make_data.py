"""``flowlm make-data``: training reads its shards or the raw text alike, and it accepts only what it reads."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pydantic import ValidationError

from diffusionlm.data import make
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import TOKENIZERS, BPERecipe
from diffusionlm.training.signals import Terminated
from diffusionlm.workflows import corpus
from diffusionlm.workflows.make_data import make_data
from diffusionlm.workflows.params import MakeDataParams, TokenizerTrainParams
from diffusionlm.workflows.run_lock import lock_folder
from diffusionlm.workflows.train_tokenizer import train_tokenizer
from tests.diffusionlm.tokenizer.families import change, family, write
from tests.diffusionlm.workflows.runs import write_text

BPE = {"name": "bpe", "vocab_size": 280}


def opened(source, tokenizer, **data):
    """Return the text as ``flowlm train`` opens it."""
    params = DataParams.model_validate({"source": source, "cache": "none", **data})
    recipe = TOKENIZERS[tokenizer["name"]].Params.model_validate(tokenizer)
    return corpus.open_text(params, recipe, 24, 5, lambda line: None, None, lambda tokenizer: None)


def parameters(text, output, **options):
    """Return a configuration; options that are not the command's own go to its data table."""
    own = {name: value for name, value in options.items() if name in MakeDataParams.model_fields}
    data = {name: value for name, value in options.items() if name not in own}
    source = {"name": "text", "path": str(text)}
    tables = {"tokenizer": BPE, "output": output, "shard_tokens": 300, **own}
    return MakeDataParams.model_validate({"data": {"source": source, "workers": 1, **data}, **tables})


def test_training_reads_shards_or_raw_text_alike(tmp_path):
    text = write_text(tmp_path, documents=60)
    shards = tmp_path / "shards"
    done = make_data(parameters(text, shards, validation_fraction=0.2))
    assert done.report() == str(shards)
    assert done.validation is not None
    assert done.train.n_documents + done.validation.n_documents == 60
    assert done.train.n_shards > 1
    ways = [
        opened({"name": "text", "path": str(text)}, BPE, validation_fraction=0.2),
        opened({"name": "shards", "path": str(shards)}, BPE),  # trained again, on the text read back
        opened({"name": "shards", "path": str(shards)}, {"name": "files", "path": str(shards / "train" / "tokenizer")}),
    ]
    first, *others = ways
    assert isinstance(first.loader, RowLoader)
    assert first.held_out is not None
    rows = np.arange(first.loader.rows_per_epoch)
    for other in others:
        assert other.tokenizer.fingerprint() == first.tokenizer.fingerprint()
        assert isinstance(other.loader, RowLoader)
        assert other.loader.rows_per_epoch == len(rows)
        for name, tensor in vars(first.loader.batch(rows)).items():
            assert np.array_equal(tensor, vars(other.loader.batch(rows))[name]), name
        assert other.held_out is not None
        assert other.held_out.store.fingerprint == first.held_out.store.fingerprint


def test_a_tokenizer_that_the_package_runs_is_told_in_one_line(tmp_path, capsys):
    text = write_text(tmp_path)
    path = write(tmp_path / "some.json", change(family("gpt2"), "model.byte_fallback", True))
    params = parameters(text, tmp_path / "shards")
    files = TOKENIZERS["files"].Params.model_validate({"path": str(path)})
    make_data(params.model_copy(update={"tokenizer": files}))
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert told == [
        f"warning: {path} has byte_fallback, which the fast encoder does not know: "
        "the tokenizers package encodes, more slowly"
    ]


def test_nothing_held_out(tmp_path):
    done = make_data(parameters(write_text(tmp_path), tmp_path / "shards", validation_fraction=0.0))
    assert done.validation is None
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["train"]


def test_it_accepts_only_what_it_reads(tmp_path):
    for name in ("packing", "eos_padding_cap", "prefetch", "shuffle_buffer", "cache"):
        with pytest.raises(ValidationError, match=name):
            parameters("text.txt", tmp_path, **{name: DataParams.model_fields[name].default})


@pytest.mark.filterwarnings("ignore:the corpus ran out of pairs")
def test_a_failure_leaves_nothing(tmp_path):
    text = tmp_path / "one.txt"
    text.write_text("a single document")
    with pytest.raises(DataError, match="holds no document at validation_fraction"):
        make_data(parameters(text, tmp_path / "shards", validation_fraction=0.01))
    assert not (tmp_path / "shards").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(DataError, match="is not empty"):
        make_data(parameters(text, tmp_path / "mine", validation_fraction=0.0))
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


def files(folder):
    """Return the files of a folder but its journals, which name the corpus."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "journal.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def end_at_shard(monkeypatch, number, error):
    """Let the writing of a shard fail."""
    real, written = make.write_shard, []

    def write(*arguments, **options):
        written.append(1)
        if len(written) == number:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(make, "write_shard", write)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_cut_off_and_gone_on(tmp_path, monkeypatch, number, capsys):
    """In the first side, between the sides, in the second side; the tokenizer is trained once."""
    text = write_text(tmp_path, documents=60)
    make_data(parameters(text, tmp_path / "whole", validation_fraction=0.2))
    params = parameters(text, tmp_path / "shards", validation_fraction=0.2)
    with monkeypatch.context() as patch:
        end_at_shard(patch, number, Terminated(signal.SIGTERM))
        with pytest.raises(Terminated):
            make_data(params)
    said = capsys.readouterr().err
    assert ("to go on: the same command with --resume auto" in said) == (number > 1)
    assert ("1 finished shard is kept; to go on" in said) == (number == 2)
    assert (tmp_path / "shards").exists() == (number > 1)
    if number > 1:
        with pytest.raises(DataError, match=r"holds unfinished shards; add --resume auto to go on, choose another"):
            make_data(params)
        monkeypatch.setattr(BPERecipe, "build", lambda *_: pytest.fail("trained again"))
    done = make_data(params.model_copy(update={"resume": "auto"}))
    assert files(tmp_path / "shards") == files(tmp_path / "whole")
    assert done.validation is not None
    assert done.train.n_documents + done.validation.n_documents == 60
    assert "peak memory" in capsys.readouterr().err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more(tmp_path, monkeypatch, code):
    text = write_text(tmp_path, documents=60)
    params = parameters(text, tmp_path / "shards", validation_fraction=0.2)
    with monkeypatch.context() as patch:
        end_at_shard(patch, 3, OSError(code, os.strerror(code)))
        with pytest.raises(DataError) as caught:
            make_data(params)
    reason = "no space left on the device" if code == errno.ENOSPC else os.strerror(code)
    assert str(caught.value) == (
        f"cannot write to {str(tmp_path / 'shards')!r}: {reason}; 2 finished shards are kept: mend that, and the same "
        "command with --resume auto goes on"
    )
    make_data(params.model_copy(update={"resume": "auto"}))
    make_data(parameters(text, tmp_path / "whole", validation_fraction=0.2))
    assert files(tmp_path / "shards") == files(tmp_path / "whole")


def test_what_is_finished_is_neither_written_again_nor_overwritten(tmp_path):
    text = write_text(tmp_path, documents=60)
    params = parameters(text, tmp_path / "shards", deduplicate=True)
    done = make_data(params)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")}
    with pytest.raises(DataError, match="holds finished shards; choose another one, or remove it"):
        make_data(params)
    again = make_data(params.model_copy(update={"resume": "auto"}))
    assert again.train.fingerprint == done.train.fingerprint
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")} == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shard_tokens": 400}, "shard_tokens was 300, now it is 400"),
        ({"validation_fraction": 0.3}, "data.validation_fraction was 0.2, now it is 0.3"),
        ({"tokenizer": {"name": "bpe", "vocab_size": 290}}, "tokenizer.vocab_size was 280, now it is 290"),
        ({"deduplicate": True}, "deduplicate was false, now it is true"),
    ],
)
def test_another_configuration_does_not_go_on(tmp_path, changed, said):
    text = write_text(tmp_path, documents=60)
    options = {"validation_fraction": 0.2}
    make_data(parameters(text, tmp_path / "shards", **options))
    before = files(tmp_path / "shards")
    with pytest.raises(DataError, match=f"cannot go on with the shards in .*: {said}"):
        make_data(parameters(text, tmp_path / "shards", resume="auto", **{**options, **changed}))
    assert files(tmp_path / "shards") == before


def test_another_corpus_or_tokenizer_does_not_go_on(tmp_path):
    text = write_text(tmp_path, documents=60)
    for name in ("first", "second"):
        tokenizer = {"name": "bpe", "vocab_size": 280 if name == "first" else 270}
        source = {"name": "text", "path": str(text)}
        train_tokenizer(
            TokenizerTrainParams.model_validate({"source": source, "tokenizer": tokenizer, "output": tmp_path / name})
        )
    shutil.copytree(tmp_path / "first", tmp_path / "used")
    read = {"name": "files", "path": str(tmp_path / "used")}
    make_data(parameters(text, tmp_path / "shards", tokenizer=read))
    shutil.copytree(tmp_path / "second", tmp_path / "used", dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"cannot go on with the shards in .*: tokenizer changed from"):
        make_data(parameters(text, tmp_path / "shards", tokenizer=read, resume="auto"))
    shutil.copytree(tmp_path / "first", tmp_path / "used", dirs_exist_ok=True)
    make_data(parameters(text, tmp_path / "shards", tokenizer=read, resume="auto"))
    text.write_text(text.read_text() + "<|endoftext|>one more")
    with pytest.raises(DataError, match=r"cannot go on with the shards in .*: corpus changed from"):
        make_data(parameters(text, tmp_path / "shards", tokenizer=read, resume="auto"))


def test_resuming_from_nothing_begins(tmp_path):
    text = write_text(tmp_path, documents=60)
    left = tmp_path / "shards" / "validation"
    left.mkdir(parents=True)
    (left / ".journal.json.1234.tmp").write_text("half")
    with pytest.raises(DataError, match="is not empty"):
        make_data(parameters(text, tmp_path / "shards"))
    make_data(parameters(text, tmp_path / "shards", resume="auto"))
    make_data(parameters(text, tmp_path / "whole"))
    assert files(tmp_path / "shards") == files(tmp_path / "whole")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(DataError, match="is not empty"):
        make_data(parameters(text, tmp_path / "mine", resume="auto"))
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


def test_two_at_once(tmp_path):
    text = write_text(tmp_path, documents=60)
    make_data(parameters(text, tmp_path / "shards"))
    descriptor = lock_folder(tmp_path / "shards")
    assert descriptor is not None
    with pytest.raises(DataError, match=r"is in use by another run; wait for its end"):
        make_data(parameters(text, tmp_path / "shards", resume="auto"))
    os.close(descriptor)
    make_data(parameters(text, tmp_path / "shards", resume="auto"))


def test_copies_are_left_out_and_told(tmp_path, capsys):
    text = write_text(tmp_path, documents=60)
    text.write_text("<|endoftext|>".join([text.read_text()] * 2))
    done = make_data(parameters(text, tmp_path / "shards", deduplicate=True, validation_fraction=0.2))
    assert done.validation is not None
    assert done.train.n_documents + done.validation.n_documents == 60
    assert done.train.n_duplicates + done.validation.n_duplicates == 60
    said = capsys.readouterr().err
    assert f"{done.train.n_duplicates} copies left out" in said
    assert "MB of digests" in said


def test_a_mixture_is_refused_in_words(tmp_path):
    part = {"weight": 1.0, "source": {"name": "text", "path": "text.txt"}}
    with pytest.raises(ValidationError, match=r"writes the shards of one source.*\[\[data.mixture\]\]"):
        parameters("text.txt", tmp_path, mixture=[part])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(tmp_path, seed):
    """The real command, SIGKILL at a random moment, again and again; then the bytes of an unbroken run."""
    rng = random.Random(seed)
    text = write_text(tmp_path, documents=40_000, seed=seed)
    text.write_text("<|endoftext|>".join([text.read_text(), text.read_text()[:200_000]]))
    words = [
        *("--set", f'data.source={{name="text",path="{text}"}}', "--set", "tokenizer.vocab_size=280"),
        *("--set", "shard_tokens=20000", "--set", "deduplicate=true", "--set", f"data.workers={1 + seed % 2}"),
    ]
    command = [sys.executable, "-m", "cli.make_data", *words, "--output"]
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    shards = len(list((tmp_path / "whole").rglob("shard-*.bin")))
    out = tmp_path / "shards"
    for _ in range(5):
        # Time alone would mostly hit the start of the program: so many more shards, and then some moment.
        wanted = len(list(out.rglob("shard-*.bin"))) + rng.randint(1, shards // 8)
        with subprocess.Popen([*command, out, "--resume", "auto"], stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(out.rglob("shard-*.bin"))) < wanted:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.02))
            process.kill()
        assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    subprocess.run([*command, out, "--resume", "auto"], check=True, capture_output=True)
    assert files(out) == files(tmp_path / "whole")
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


def test_text_is_prepared_without_torch(tmp_path):
    """Its import takes seconds and hundreds of megabytes, which the stated peak would be of."""
    (tmp_path / "text.txt").write_text("one line\n" * 50)
    source = f"data.source={{name='text', path='{tmp_path / 'text.txt'}', chunk_bytes=64}}"
    words = ["--set", source, "--set", "tokenizer.name=byte", "--output", str(tmp_path / "shards")]
    code = f"import sys; from cli import make_data; make_data.app({words!r}, standalone_mode=False)"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
