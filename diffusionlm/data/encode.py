"""Documents to tokens, in one process or many, always in the same order and with the same result.

The tokens of a document are its encoding followed by one EOS, a token like any other: a model learns from it where a
document ends. The text ``<|endoftext|>`` inside a document stays text.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process

import numpy as np

from diffusionlm.data.split import document_hash
from diffusionlm.tokenizer import Tokenizer
from diffusionlm.tokenizer.compiled import cores

# Work for one process at a time: large enough to hide the cost of sending it, small enough to balance.
_BATCH_BYTES = 1 << 20
_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class EncodedDocuments:
    """Tokens of consecutive documents.

    Attributes:
        tokens: (N,) uint16 or uint32, the documents end to end, each ending with EOS.
        lengths: (D,) int64, tokens of each document, EOS included.
        sizes: (D,) int64, UTF-8 bytes of each document.
        hashes: (D,) uint64, the first 64 bits of the SHA-256 of each document.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    hashes: np.ndarray


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest unsigned type that holds every token id: uint16 up to 65536 ids, else uint32."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def encode_document(document: bytes, tokenizer: Tokenizer) -> np.ndarray:
    """Return the tokens of one document with its EOS, (n,) of ``token_dtype``."""
    ids = tokenizer.encode_array(document)
    tokens = np.empty(len(ids) + 1, dtype=token_dtype(tokenizer.vocab_size))
    tokens[:-1] = ids
    tokens[-1] = tokenizer.eos_id
    return tokens


def encode_documents(
    documents: Iterable[bytes], tokenizer: Tokenizer, workers: int = 1
) -> Generator[EncodedDocuments, None, None]:
    """Yield the tokens of the documents, in order, some documents at a time; closing it ends the workers.

    Args:
        documents: Documents that hold at least one byte each.
        tokenizer: What encodes them; with several workers it must survive pickling.
        workers: Threads where the tokenizer lets them run side by side, else processes; 1 encodes here, 0 is one for
            each core. The tokens do not depend on it.
    """
    batches, workers = _batches(documents), workers or cores()
    if workers == 1:
        for batch in batches:
            yield _encode_batch(batch, tokenizer)
        return
    pool, work = _workers(tokenizer, workers)
    waiting: deque[Future[EncodedDocuments]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _workers(tokenizer: Tokenizer, workers: int) -> tuple[Executor, Callable[[list[bytes]], EncodedDocuments]]:
    """Return what encodes batches side by side."""
    if tokenizer.releases_lock:
        return ThreadPoolExecutor(workers), partial(_encode_batch, tokenizer=tokenizer)
    # A fresh interpreter per worker: forking a process that runs torch's threads can deadlock.
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_set_tokenizer, initargs=(tokenizer,)
    )
    return pool, _encode_in_worker


def content_fingerprint(
    tokenizer_fingerprint: str, hashes: Iterable[np.ndarray], n_documents: int, n_tokens: int
) -> str:
    """Return a fingerprint of tokenized documents: which documents in which order, and by which tokenizer.

    Args:
        tokenizer_fingerprint: The tokenizer's.
        hashes: uint64 arrays that hold the documents' hashes when laid end to end.
        n_documents, n_tokens: Totals.
    """
    digest = hashlib.sha256(f"flowlm-tokens-1/{tokenizer_fingerprint}/{n_documents}/{n_tokens}/".encode())
    for part in hashes:
        digest.update(np.ascontiguousarray(part, dtype="<u8").data)
    return digest.hexdigest()


def _batches(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_batch(batch: list[bytes], tokenizer: Tokenizer) -> EncodedDocuments:
    ids, lengths = tokenizer.encode_documents(batch)
    return EncodedDocuments(
        tokens=np.insert(ids.astype(token_dtype(tokenizer.vocab_size)), np.cumsum(lengths), tokenizer.eos_id),
        lengths=lengths + 1,
        sizes=np.array([len(document) for document in batch], dtype=np.int64),
        hashes=np.array([document_hash(document) for document in batch], dtype=np.uint64),
    )


_worker_tokenizer: list[Tokenizer] = []


def _set_tokenizer(tokenizer: Tokenizer) -> None:
    """Give a worker process its tokenizer once, instead of with every batch."""
    _worker_tokenizer[:] = [tokenizer]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; only the first one answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone: killed, it tells nobody, and work never comes again."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _encode_in_worker(batch: list[bytes]) -> EncodedDocuments:
    return _encode_batch(batch, _worker_tokenizer[0])
