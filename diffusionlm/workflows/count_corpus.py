"""Read a corpus into a training, saving what is counted now and then, and when somebody wants the process to end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from diffusionlm.data.counted import TOKENIZER, Counted, write_counted
from diffusionlm.data.resume import documents_after
from diffusionlm.data.split import document_hash
from diffusionlm.tokenizer.training import Training
from diffusionlm.training.signals import StopRequest, Terminated

REPORTED_BYTES = 1 << 20
SAVING_SHARE = 0.02
"""Most of the time that may go into saving: where words take long to write, they are written less often."""


class CorpusReader:
    """One corpus on its way into one training.

    Args:
        training: What counts.
        documents: The corpus.
        folder: Where what is counted is saved.
        save_seconds: Time between two saves, unless ``SAVING_SHARE`` asks for more.
        stop: Whether to save and end.
        progress: Told documents, None and bytes so far at each megabyte and at the end.
        counted: What an earlier run had counted; the training is given it.
    """

    def __init__(
        self,
        training: Training,
        documents: Iterable[bytes],
        folder: Path,
        save_seconds: float,
        stop: StopRequest,
        progress: Callable[[int, int | None, int], None],
        counted: Counted | None = None,
    ) -> None:
        self.training, self.folder, self.save_seconds, self.stop = training, folder, save_seconds, stop
        self.progress = progress
        self.documents = self._told = 0
        self._last, self._saved_in, self._ended = b"", 0.0, False
        last_document = None
        if counted is not None:
            self.documents, last_document = counted.documents, counted.last_document
            training.restore(counted.words, counted.size)
            self._told = training.size
        self._rest = documents_after(self._until_stopped(documents), self.documents, last_document, folder, TOKENIZER)

    def read(self) -> None:
        """Read until the corpus ends or the training has enough.

        Raises:
            KeyboardInterrupt: The process was asked to end; what is counted is saved.
            DataError: The corpus cannot be read, or is not the one that was counted before.
            OSError: What is counted cannot be saved.
        """
        while not (self._ended or self.training.full):
            self.training.read(self._part(time.perf_counter() + max(self.save_seconds, self._saved_in / SAVING_SHARE)))
            if self.stop:
                self.save()
                raise _as_raised(self.stop)
            if not (self._ended or self.training.full):
                self.save()
        self.progress(self.documents, None, self.training.size)

    def save(self) -> None:
        """Save what is counted, if this run has counted anything.

        Raises:
            OSError: The disk is full or not writable; what was saved before is there.
        """
        if not self._last:
            return
        began = time.perf_counter()
        words = self.training.words()
        write_counted(self.folder, Counted(self.documents, self.training.size, document_hash(self._last), words))
        self._saved_in = time.perf_counter() - began

    def _part(self, until: float) -> Iterator[bytes]:
        """Yield documents until it is time to save."""
        for document in self._rest:
            self.documents, self._last = self.documents + 1, document
            yield document
            if self.training.size - self._told >= REPORTED_BYTES:
                self._told = self.training.size
                self.progress(self.documents, None, self._told)
            if self.stop or time.perf_counter() >= until:
                return
        self._ended = True

    def _until_stopped(self, documents: Iterable[bytes]) -> Iterator[bytes]:
        """Yield documents; while those that were counted before are passed over, a signal ends it here."""
        for document in documents:
            if self.stop and not self._last:
                raise _as_raised(self.stop)
            yield document


def _as_raised(stop: StopRequest) -> KeyboardInterrupt:
    """Return what the signal would have raised where no loop asks for it."""
    assert stop.signal_name is not None, "nobody has asked to stop"
    number = signal.Signals[stop.signal_name]
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
