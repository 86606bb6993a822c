"""stdin, stdout and stderr of a command, made to bear what a shell does to them.

A stream that was closed (``>&-``) is the null device, so that no file that is opened later takes its place. Bytes that
are not UTF-8 come in as lone surrogates (a prompt on the command line, say) and go out as the bytes that they were.
stderr goes quiet once nobody can read it: with ``2>&1 | tee`` a Ctrl-C ends tee first, and the run must still save.
stdout that takes no more ends the command: without a word if nobody reads it (``| head``), in one line if it is full.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from typing import NoReturn

LOSSLESS = "flowlm-lossless"
"""Name of the error handler: an escaped byte is written as itself, what the encoding cannot say as a question mark."""


def prepare() -> None:
    """Put the three streams of this process in order."""
    codecs.register_error(LOSSLESS, lossless)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if vars(sys)[name] is None:
            point_at_nothing(descriptor)
            mode, kind = ("w", io.BufferedWriter) if descriptor else ("r", io.BufferedReader)
            setattr(sys, name, io.TextIOWrapper(kind(io.FileIO(descriptor, mode, closefd=False))))
    # Unbuffered (PYTHONUNBUFFERED, python -u), Python writes a text by one call of the system and takes no notice of
    # what that did not take: a reader that leaves would go unseen.
    raw = io.FileIO(sys.stdout.fileno(), "w", closefd=False)
    sys.stdout = _Product(io.BufferedWriter(raw), sys.stdout.encoding, LOSSLESS, line_buffering=sys.stdout.isatty())
    raw = io.FileIO(sys.stderr.fileno(), "w", closefd=False)
    sys.stderr = _Talk(io.BufferedWriter(raw), encoding=sys.stderr.encoding, errors=LOSSLESS, line_buffering=True)


def lossless(error: UnicodeError) -> tuple[bytes, int]:
    """Return the bytes for what an encoding refused, and where to go on: the handler behind ``LOSSLESS``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    return b"".join(bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else b"?" for c in refused), error.end


def point_at_nothing(descriptor: int) -> None:
    """Make a file descriptor the null device: what is written to it, or still waits in a buffer, is gone."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


class _Product(io.TextIOWrapper):
    """stdout, whose loss ends the command. Not as an ``OSError``: Typer and Rich have answers of their own to that."""

    def write(self, text: str, /) -> int:
        """Write, or end."""
        try:
            return super().write(text)
        except OSError as error:
            self._end(error)

    def flush(self) -> None:
        """Flush, or end."""
        try:
            super().flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> NoReturn:
        point_at_nothing(self.fileno())  # what still waits in the buffer would raise again when Python ends
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + signal.SIGPIPE) from None
        print(
            f"error: cannot write to stdout: {error.strerror}; free some space, or send it elsewhere", file=sys.stderr
        )
        raise SystemExit(2) from None


class _Talk(io.TextIOWrapper):
    """stderr whose loss stops nothing: the talk is not worth a run."""

    def write(self, text: str, /) -> int:
        """Write, or go quiet for good."""
        try:
            return super().write(text)
        except OSError:
            point_at_nothing(self.fileno())
            return len(text)

    def flush(self) -> None:
        """Flush, or go quiet for good."""
        try:
            super().flush()
        except OSError:
            point_at_nothing(self.fileno())
