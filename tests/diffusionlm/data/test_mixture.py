"""Shares at every prefix, one order for every world size and batch, exact resumption, one source as before."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from diffusionlm.data.batch import Batch, concatenate
from diffusionlm.data.corpus import open_corpus, tokenize, training_loader
from diffusionlm.data.mixture import PERIOD, MixedDocuments, MixtureLoader, interleave, row_quotas
from diffusionlm.data.params import DataParams
from diffusionlm.data.rows import RowLoader
from diffusionlm.data.sources import TextSource
from diffusionlm.data.store import join_stores
from diffusionlm.data.stream import stream
from diffusionlm.errors import DataError
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import ListDocuments, store_of


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(vars(one)[f.name], vars(other)[f.name]) for f in fields(Batch))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_every_prefix_is_within_one_row_of_every_share(quotas: list[int]) -> None:
    table, total = interleave(np.array(quotas)), sum(quotas)
    for source, quota in enumerate(quotas):
        done = np.cumsum(table == source)
        assert done[-1] == quota
        assert (np.abs(done * total - quota * np.arange(1, total + 1)) < total).all()


def test_quotas() -> None:
    assert row_quotas([0.7, 0.3]).tolist() == [7000, 3000]
    assert row_quotas([1, 1, 1]).tolist() == [3334, 3333, 3333]
    with pytest.raises(DataError, match="source 2 of the mixture comes to less than one row in 10000"):
        row_quotas([1.0, 1e-9])


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1.0, 1.7e308])
def test_only_the_ratios_of_the_weights_count(weight: float) -> None:
    stores = [store_of([5, 9, 2, 30, 17]), store_of([40, 3]), store_of([8] * 20)]
    loader = MixtureLoader(stores, [weight] * 3, 8)
    assert loader.quotas.tolist() == MixtureLoader(stores, [1.0] * 3, 8).quotas.tolist()


def mixture(packing: str = "packed", weights: tuple[float, ...] = (0.7, 0.2, 0.1)) -> MixtureLoader:
    stores = [store_of([5, 9, 2, 30, 17]), store_of([40, 3]), store_of([8] * 20)]
    return MixtureLoader(stores[: len(weights)], weights, 8, packing, seed=4, eos_padding_cap=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", ["packed", "one_per_row"])
def test_a_row_is_the_next_of_its_sources_own_order(packing: str) -> None:
    loader = mixture(packing)
    rows = np.arange(PERIOD - 20, PERIOD + 20)
    sources, own = loader.places(rows)
    batch = loader.batch(rows)
    table, _ = loader.places(np.arange(PERIOD + 20))
    for i, (row, source, number) in enumerate(zip(rows, sources, own, strict=True)):
        assert number == (table[:row] == source).sum()
        wanted = loader.parts[source].batch(np.array([number]))
        assert torch.equal(batch.x_1[i], wanted.x_1[0])
        inside = wanted.segments[0] > 0
        shift = int(loader.first_documents[source])
        assert torch.equal(batch.document[i][inside], wanted.document[0][inside] + shift)
        tokens = loader.store.document(int(batch.document[i][0]))
        assert int(batch.x_1[i, 0]) in tokens


def test_tokens_have_their_shares_whatever_the_rows_hold() -> None:
    loader = mixture("one_per_row", (0.5, 0.5))
    batch = loader.batch(np.arange(PERIOD))
    sources, _ = loader.places(np.arange(PERIOD))
    # What a row holds of its document; the EOS tokens behind it and the padding are not text.
    own = [(part.store.n_tokens / part.rows_per_epoch) for part in loader.parts]
    tokens = np.array([own[i] * (sources == i).sum() for i in range(2)])
    assert tokens[0] / tokens.sum() == pytest.approx(0.5, abs=1e-3)
    assert len(batch) == PERIOD


@given(world=st.sampled_from([1, 2, 3, 6]), resume=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_any_world_size_slices_one_order_and_a_cursor_continues_it(world: int, resume: int) -> None:
    loader, rows = mixture(), 6
    first = {"row": resume * rows}
    ranks = [stream(loader, first, rows, rows, rank=k, world=world, prefetch=0) for k in range(world)]
    for step in range(resume, resume + 3):
        got = concatenate([next(rank)[0] for rank in ranks])
        assert equal(got, loader.batch(np.arange(step * rows, (step + 1) * rows)))
        assert ranks[0].cursor == {"row": (step + 1) * rows}


def test_one_source_is_as_before() -> None:
    store = store_of([5, 9, 2, 30, 17])
    rows = np.arange(40)
    assert equal(MixtureLoader([store], [3.0], 8, seed=4).batch(rows), RowLoader(store, 8, seed=4).batch(rows))


def config(tmp_path: Path, *weights: float, **values: object) -> DataParams:
    parts = []
    for i, weight in enumerate(weights):
        path = tmp_path / f"{i}.txt"
        path.write_text("".join(f"line {n} of text {i}\n" for n in range(400)), encoding="utf-8")
        parts.append({"source": {"name": "text", "path": str(path), "chunk_bytes": 50}, "weight": weight})
    return DataParams.model_validate({"mixture": parts, "cache": "none", **values})


def test_from_the_configuration(tmp_path: Path) -> None:
    params = config(tmp_path, 3.0, 1.0, validation_fraction=0.2)
    corpus = open_corpus(params)
    loader = training_loader(corpus.train, ByteTokenizer(), params, 64, seed=1)
    assert isinstance(loader, MixtureLoader)
    assert loader.quotas.tolist() == [7500, 2500]
    assert corpus.validation is not None
    train, held_out = list(corpus.train), list(corpus.validation)
    assert not set(train) & set(held_out)
    for text in (b"text 0", b"text 1"):
        assert any(text in document for document in held_out), "every source holds out a part"
    assert loader.store.n_documents == len(train)
    store = tokenize(corpus.validation, ByteTokenizer())
    assert store.fingerprint == join_stores([store]).fingerprint
    assert bytes(store.document(store.n_documents - 1)[:-1].astype(np.uint8)) == held_out[-1]


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_none(tmp_path: Path, weight: float) -> None:
    with pytest.raises(ValidationError, match="weight"):
        config(tmp_path, 1.0, weight)


def test_a_mixture_and_a_source(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a mixture takes the place of source"):
        config(tmp_path, 1.0, source={"name": "text", "path": "x"})


def test_a_streamed_source_is_refused_before_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to give validation_documents, a user would only meet the next refusal."""
    monkeypatch.setattr(TextSource, "streaming", True)
    with pytest.raises(DataError, match=r"0\.txt' is streamed, and a mixture needs the size of every source"):
        open_corpus(config(tmp_path, 1.0, 1.0, validation_fraction=0.2))


def test_held_out_parts_keep_the_numbers_of_their_sources(tmp_path: Path) -> None:
    params = config(tmp_path, 1.0, 1.0, validation_fraction=0.2)
    parts = open_corpus(params).validation
    assert isinstance(parts, MixedDocuments)
    assert parts.numbers == (1, 2)


def test_the_size_is_known_where_that_of_every_source_is() -> None:
    class Sized(ListDocuments):
        @property
        def expected_bytes(self) -> int:
            return sum(map(len, self.documents))

    one, other = Sized([b"abc"]), Sized([b"de", b"f"])
    assert MixedDocuments([one, other], [1.0, 2.0]).expected_bytes == 6
    assert MixedDocuments([one, ListDocuments([b"de"])], [1.0, 2.0]).expected_bytes is None
