from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffusionlm.data import encode
from diffusionlm.data.encode import content_fingerprint, encode_document, encode_documents, token_dtype
from diffusionlm.data.split import document_hash
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.data.doubles import WideTokenizer, texts


def test_every_document_ends_with_eos_and_special_text_stays_text() -> None:
    tokenizer = ByteTokenizer()
    tokens = encode_document(b"a<|endoftext|>", tokenizer)
    assert tokens.tolist() == [*b"a<|endoftext|>", tokenizer.eos_id]
    assert tokens.dtype == np.uint16


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, "<u2"), (65536, "<u2"), (65537, "<u4"), (151936, "<u4")])
def test_dtype_is_the_smallest_that_holds_every_id(vocab_size: int, dtype: str) -> None:
    assert token_dtype(vocab_size) == np.dtype(dtype)
    assert np.iinfo(token_dtype(vocab_size)).max >= vocab_size - 1


def test_a_vocabulary_past_65535_keeps_its_ids() -> None:
    tokenizer = WideTokenizer(70_000)
    assert encode_document(b"ab", tokenizer).tolist() == [97, 98, 69_999]


def test_tables_describe_the_documents() -> None:
    documents = texts([3, 1, 2000, 7])
    (part,) = encode_documents(documents, ByteTokenizer())
    assert part.lengths.tolist() == [4, 2, 2001, 8]
    assert part.sizes.tolist() == [3, 1, 2000, 7]
    assert part.hashes.tolist() == [document_hash(d) for d in documents]
    assert len(part.tokens) == part.lengths.sum()


def test_bytes_that_are_not_utf8_survive() -> None:
    tokenizer = ByteTokenizer()
    document = bytes(range(256))
    assert tokenizer.decode_bytes(encode_document(document, tokenizer)[:-1].tolist()) == document


def test_two_workers_give_the_same_tokens() -> None:
    documents = texts([300_000] * 9 + [5] * 50)  # several batches, so that workers could finish out of order
    alone = list(encode_documents(documents, ByteTokenizer(), workers=1))
    together = list(encode_documents(documents, ByteTokenizer(), workers=2))
    assert len(alone) == len(together) > 1
    for one, two in zip(alone, together):
        assert np.array_equal(one.tokens, two.tokens)
        assert np.array_equal(one.hashes, two.hashes)


def test_closing_early_ends_the_workers() -> None:
    batches = encode_documents(iter(texts([1_100_000] * 20)), ByteTokenizer(), workers=2)
    next(batches)
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()


def test_no_number_of_workers_is_one_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(encode, "cores", lambda: 1)
    monkeypatch.setattr(encode, "_workers", lambda tokenizer, workers: asked.append(workers))
    assert len(list(encode_documents([b"a"], ByteTokenizer(), workers=0))) == 1
    assert asked == [], "one core encodes here"


ENDLESS = """
import itertools, os, signal, multiprocessing
from diffusionlm.data.encode import encode_documents
from diffusionlm.tokenizer import ByteTokenizer
if __name__ == "__main__":
    batches = encode_documents(itertools.repeat(b"a" * 1_100_000), ByteTokenizer(), workers=2)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    command = [sys.executable, tmp_path / "endless.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent.parent)}
    # The workers hold the pipe of stderr: reading it to its end is waiting for theirs.
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(done.stdout.split()) == 2


def test_fingerprint_depends_on_documents_order_and_tokenizer() -> None:
    hashes = np.array([1, 2], dtype=np.uint64)
    prints = {
        content_fingerprint("a", [hashes], len(hashes), 5),
        content_fingerprint("b", [hashes], len(hashes), 5),
        content_fingerprint("a", [hashes[::-1]], len(hashes), 5),
        content_fingerprint("a", [hashes], len(hashes), 6),
    }
    assert len(prints) == 4
