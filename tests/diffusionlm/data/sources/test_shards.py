from __future__ import annotations

from pathlib import Path

import pytest

from diffusionlm.data.make import make_data
from diffusionlm.data.sources.shards import ShardsParams, ShardsSource
from diffusionlm.data.split import SplitDocuments
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import ListDocuments, texts

DOCUMENTS = [*texts([50] * 100), bytes(range(256)), b"a<|endoftext|>b"]


@pytest.fixture
def source(tmp_path: Path) -> ShardsSource:
    make_data(DOCUMENTS, ByteTokenizer(), tmp_path / "out", shard_tokens=1000)
    return ShardsSource(ShardsParams(path=tmp_path / "out"))


def test_the_text_can_be_read_back(source: ShardsSource) -> None:
    assert list(source) == DOCUMENTS
    assert source.count == 102


def test_the_split_of_shards_is_the_split_of_their_text(source: ShardsSource) -> None:
    for side in ("train", "validation"):
        decoded = list(SplitDocuments(source, 0.2, side))
        assert decoded == list(SplitDocuments(ListDocuments(DOCUMENTS), 0.2, side))
        store = SplitDocuments(source, 0.2, side).tokens()
        assert store is not None
        tokenizer = ByteTokenizer()
        assert [tokenizer.decode_bytes(store.document(i)[:-1].tolist()) for i in range(store.n_documents)] == decoded
    limited = SplitDocuments(source, 0.2, "validation", limit=2).tokens()
    assert limited is not None
    assert limited.n_documents == 2
    with pytest.raises(DataError, match="raise it"):
        SplitDocuments(source, 1e-12, "validation").tokens()


def test_a_flipped_bit_is_noticed_unless_verification_is_off(source: ShardsSource) -> None:
    path = source.folder / "shard-00000.bin"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged: its SHA-256"):
        source.tokens()
    unverified = ShardsSource(ShardsParams(path=source.folder, verify=False))
    assert unverified.tokens().n_documents == 102


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^shard folder '.*none' does not exist; make it with flowlm-make-data$"):
        ShardsSource(ShardsParams(path=tmp_path / "none"))
    (tmp_path / "plain").mkdir()
    with pytest.raises(DataError, match=r"has no index.json"):
        list(ShardsSource(ShardsParams(path=tmp_path / "plain")))


def test_the_size_of_the_text(source: ShardsSource) -> None:
    assert source.expected_bytes == sum(map(len, DOCUMENTS))
    side = SplitDocuments(source, 0.25, "train").expected_bytes
    assert side == round(0.75 * source.expected_bytes)
