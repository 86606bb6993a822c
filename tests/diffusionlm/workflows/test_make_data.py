"""``flowlm make-data``: training reads its shards or the raw text alike, and it accepts only what it reads."""

import numpy as np
import pytest
from pydantic import ValidationError

from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import TOKENIZERS
from diffusionlm.workflows import corpus
from diffusionlm.workflows.make_data import make_data
from diffusionlm.workflows.params import MakeDataParams
from tests.diffusionlm.tokenizer.families import change, family, write
from tests.diffusionlm.workflows.runs import write_text

BPE = {"name": "bpe", "vocab_size": 280}


def opened(source, tokenizer, **data):
    """Return the text as ``flowlm train`` opens it."""
    params = DataParams.model_validate({"source": source, "cache": "none", **data})
    recipe = TOKENIZERS[tokenizer["name"]].Params.model_validate(tokenizer)
    return corpus.open_text(params, recipe, 24, 5, lambda line: None, None, lambda tokenizer: None)


def parameters(text, output, **data):
    source = {"name": "text", "path": str(text)}
    return MakeDataParams.model_validate(
        {"data": {"source": source, **data}, "tokenizer": BPE, "output": output, "shard_tokens": 300}
    )


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
        assert other.held_out.fingerprint == first.held_out.fingerprint


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
