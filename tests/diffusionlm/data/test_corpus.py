from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffusionlm.data.corpus import open_corpus, tokenize, training_loader
from diffusionlm.data.make import make_data
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.stream import stream
from diffusionlm.data.streamed import StreamLoader
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import WideTokenizer, texts

DOCUMENTS = [text.decode() for text in texts([40] * 300)]


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("<|endoftext|>".join(DOCUMENTS))
    return path


def params(source: dict[str, object], **others: object) -> DataParams:
    return DataParams.model_validate({"source": source, **others})


def test_text_is_split_by_hash(corpus_file: Path) -> None:
    corpus = open_corpus(params({"name": "text", "path": str(corpus_file)}, validation_fraction=0.2))
    assert corpus.validation is not None
    train, validation = set(corpus.train), set(corpus.validation)
    assert not train & validation
    assert train | validation == {text.encode() for text in DOCUMENTS}
    assert 30 < len(validation) < 90


def test_held_out_text_of_its_own(corpus_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("held out<|endoftext|>too")
    source, held_out = {"name": "text", "path": str(corpus_file)}, {"name": "text", "path": str(other)}
    corpus = open_corpus(params(source, validation_source=held_out))
    assert corpus.validation is not None
    assert len(list(corpus.train)) == 300
    assert list(corpus.validation) == [b"held out", b"too"]
    limited = open_corpus(params(source, validation_source=held_out, validation_documents=1))
    assert limited.validation is not None
    assert list(limited.validation) == [b"held out"]
    assert open_corpus(params(source, validation_fraction=0.0)).validation is None


def test_raw_text_cache_and_shards_give_the_same_rows(corpus_file: Path, tmp_path: Path) -> None:
    """Training reads shards or raw text alike: same split, same documents, same order, same rows."""
    tokenizer = ByteTokenizer()
    source = {"name": "text", "path": str(corpus_file)}
    whole = open_corpus(params(source, validation_fraction=0.0)).train
    make_data(whole, tokenizer, tmp_path / "shards", shard_tokens=2000)
    ways = [
        params(source, cache="none"),
        params(source, cache=str(tmp_path / "cache")),
        params(source, cache=str(tmp_path / "cache")),
        params({"name": "shards", "path": str(tmp_path / "shards")}, cache="none"),
    ]
    batches, held_out = [], set()
    for way in ways:
        loader = training_loader(open_corpus(way).train, tokenizer, way, 64, seed=5)
        assert isinstance(loader, RowLoader)
        with stream(loader, None, 8, 8) as steps:
            batches.append(next(steps)[0])
        validation = open_corpus(way).validation
        assert validation is not None
        held_out.add(tokenize(validation, tokenizer).fingerprint)
    assert len(held_out) == 1
    for batch in batches[1:]:
        for name, tensor in vars(batches[0]).items():
            assert np.array_equal(tensor, vars(batch)[name]), name


def test_shards_with_sides_of_their_own(tmp_path: Path) -> None:
    tokenizer = ByteTokenizer()
    make_data([b"one", b"two"], tokenizer, tmp_path / "out" / "train")
    make_data([b"three"], tokenizer, tmp_path / "out" / "validation")
    corpus = open_corpus(params({"name": "shards", "path": str(tmp_path / "out")}))
    assert corpus.validation is not None
    assert list(corpus.train) == [b"one", b"two"]
    assert list(corpus.validation) == [b"three"]
    assert tokenize(corpus.train, tokenizer).n_documents == 2
    limited = open_corpus(params({"name": "shards", "path": str(tmp_path / "out")}, validation_documents=1))
    assert limited.validation is not None
    assert tokenize(limited.validation, tokenizer).n_documents == 1


def test_shards_of_another_tokenizer(tmp_path: Path) -> None:
    make_data([b"one", b"two"], ByteTokenizer(), tmp_path / "out")
    corpus = open_corpus(params({"name": "shards", "path": str(tmp_path / "out")}, validation_fraction=0.0))
    with pytest.raises(DataError, match=r"^shard folder .* was made by another tokenizer .*; use the tokenizer it was"):
        tokenize(corpus.train, WideTokenizer())


def test_a_stream_is_tokenized_on_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    source = {"name": "huggingface", "path": str(folder), "streaming": True, "cache_dir": str(tmp_path / "hf")}
    with pytest.raises(DataError, match="is streamed, so its held-out part has no end; set validation_documents"):
        open_corpus(params(source))
    given = params(source, validation_fraction=0.2, validation_documents=10, shuffle_buffer=16)
    corpus = open_corpus(given)
    assert corpus.validation is not None
    held_out = list(corpus.validation)
    assert len(held_out) == 10
    assert tokenize(corpus.validation, ByteTokenizer(), tmp_path / "cache").n_documents == 10
    assert not (tmp_path / "cache").exists(), "what a stream gave is not kept: its changes could not be noticed"
    loader = training_loader(corpus.train, ByteTokenizer(), given, 41, seed=0)
    assert isinstance(loader, StreamLoader)
    with stream(loader, None, 50, 50) as steps:
        seen = {bytes(row[:40].tolist()) for batch in (next(steps), next(steps)) for row in batch[0].x_1.numpy()}
    assert len(seen) == 100
    assert seen <= {text.encode() for text in DOCUMENTS} - set(held_out)


def test_missing_files_fail_when_the_corpus_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; check the path"):
        open_corpus(params({"name": "text", "path": str(tmp_path / "none.txt")}))
