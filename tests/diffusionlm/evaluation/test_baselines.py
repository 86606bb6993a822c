"""Byte and token baselines against loops, and their place beside a report."""

import math

import numpy as np
import pytest
import torch

from diffusionlm.checkpoint.tensors import read_tensors, write_tensors
from diffusionlm.errors import CheckpointError, DataError
from diffusionlm.evaluation import ByteCounts, baselines, count_bytes, count_tokens, score_baselines
from diffusionlm.evaluation.baselines import ALPHA, BETA, END, SYMBOLS, bigram_bits, unigram_bits

TRAIN = [b"abracadabra", b"", b"abc\x00\xff", "naïve".encode()]
TEST = [b"abba", b"cab\x00"]


def longhand_pairs(documents: list[bytes]) -> np.ndarray:
    pairs = np.zeros((SYMBOLS, SYMBOLS), dtype=np.int64)
    for document in documents:
        before = END
        for symbol in [*document, END]:
            pairs[before, symbol] += 1
            before = symbol
    return pairs


@pytest.mark.parametrize("block", [1, 7, 1 << 22])
def test_counts_equal_a_loop(monkeypatch, block):
    monkeypatch.setattr(baselines, "_BLOCK", block)
    counts = count_bytes(TRAIN)
    assert np.array_equal(counts.pairs, longhand_pairs(TRAIN))
    assert counts.bytes == sum(map(len, TRAIN))
    assert counts.documents == len(TRAIN)
    assert np.array_equal(count_bytes([]).pairs, np.zeros((SYMBOLS, SYMBOLS)))


def test_a_generator_is_read_once():
    assert np.array_equal(count_bytes(d for d in TRAIN).pairs, count_bytes(TRAIN).pairs)


def test_bits_equal_a_loop():
    report = score_baselines(count_bytes(TRAIN), count_bytes(TEST))
    pairs = longhand_pairs(TRAIN)
    single = pairs.sum(0)
    size = sum(map(len, TEST))
    unigram = bigram = 0.0
    for document in TEST:
        before = END
        for symbol in [*document, END]:
            p = (single[symbol] + ALPHA) / (single.sum() + SYMBOLS * ALPHA)
            unigram -= math.log2(p)
            bigram -= math.log2((pairs[before, symbol] + BETA * p) / (pairs[before].sum() + BETA))
            before = symbol
    assert report.unigram == pytest.approx(unigram / size)
    assert report.bigram == pytest.approx(bigram / size)
    assert report.uniform == pytest.approx(math.log2(257) * (size + len(TEST)) / size)
    assert (report.bytes, report.documents, report.token_unigram) == (size, len(TEST), None)


def test_every_model_is_a_distribution():
    counts = count_bytes(TRAIN).pairs
    assert np.exp2(-unigram_bits(counts.sum(0))).sum() == pytest.approx(1.0)
    assert np.exp2(-bigram_bits(counts)).sum(axis=1) == pytest.approx(np.ones(SYMBOLS))


def test_an_unseen_text_costs_a_finite_amount():
    report = score_baselines(count_bytes([b"aaaa"]), count_bytes([bytes(range(256))]))
    assert all(math.isfinite(value) for value in (report.unigram, report.bigram))
    empty = score_baselines(count_bytes([]), count_bytes(TEST))
    assert empty.unigram == pytest.approx(empty.uniform)
    assert empty.bigram == pytest.approx(empty.uniform)


def test_a_bigram_beats_a_unigram_on_what_it_has_seen():
    text = [b"the cat sat on the mat and the cat ran " * 50]
    report = score_baselines(count_bytes(text), count_bytes(text))
    assert report.bigram < 0.6 * report.unigram < report.uniform


def test_token_unigram():
    fitted = ByteCounts(count_bytes(TRAIN).pairs, count_tokens([np.array([0, 1, 1, 3], dtype=np.uint16)], 4))
    scored = ByteCounts(count_bytes(TEST).pairs, count_tokens([np.array([1, 2]), np.array([], dtype=np.uint32)], 4))
    bits = -math.log2(3 / 8) - math.log2(1 / 8)
    assert score_baselines(fitted, scored).token_unigram == pytest.approx(bits / scored.bytes)
    assert score_baselines(count_bytes(TRAIN), scored).token_unigram is None


def test_token_counts_do_not_overflow_or_depend_on_blocks(monkeypatch):
    ids = np.random.default_rng(0).integers(0, 300, 5000).astype(np.uint16)
    expected = np.bincount(ids, minlength=300)
    monkeypatch.setattr(baselines, "_BLOCK", 64)
    assert np.array_equal(count_tokens([ids[:3000], ids[3000:]], 300), expected)


def test_counts_travel_through_a_tensor_file(tmp_path):
    counts = ByteCounts(count_bytes(TRAIN).pairs, np.arange(5))
    write_tensors(tmp_path / "byte_counts.safetensors", counts.tensors())
    loaded = ByteCounts.from_tensors(read_tensors(tmp_path / "byte_counts.safetensors"))
    assert np.array_equal(loaded.pairs, counts.pairs)
    assert loaded.tokens is not None
    assert np.array_equal(loaded.tokens, np.arange(5))
    assert ByteCounts.from_tensors(count_bytes(TRAIN).tensors()).tokens is None
    with pytest.raises(CheckpointError, match="byte counts have another shape"):
        ByteCounts.from_tensors({"byte_pairs": torch.zeros(3, 3)})


def test_no_bytes_to_score_is_refused():
    with pytest.raises(DataError, match="holds no bytes"):
        score_baselines(count_bytes(TRAIN), count_bytes([]))
