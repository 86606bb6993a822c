"""Encoding a stream takes the same memory however long it is: measured in a process of its own, nothing on the disk."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffusionlm.runlog.resident import anonymous_mib, resident_mib
from diffusionlm.tokenizer import ByteTokenizer, Tokenizer, train_bpe

ROOT = Path(__file__).parent.parent.parent.parent
CHUNK = 1 << 16
WARM = 4 << 20
"""Bytes after which compiled code is loaded and measuring begins; the caches of words fill up later."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc, on Linux")


def stream(size: int) -> Iterator[bytes]:
    """Yield text of so many bytes, about: words that come again and again, and hundreds of new ones in each chunk."""
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlué", k=rng.randint(1, 9))) for _ in range(3000)]
    common = [" ".join(rng.choices(words, k=CHUNK // 7)).encode()[: CHUNK - 3000] for _ in range(32)]
    done = number = 0
    while done < size:
        new = " ".join(f"{rng.getrandbits(40):x}" for _ in range(250))
        yield (chunk := common[number % len(common)] + f" {new}\n".encode())  # may cut a character in two
        done, number = done + len(chunk), number + 1


def grown(kind: str, size: int) -> float:
    """Return by how many MiB this process has grown at most while it encoded a stream of ``size`` bytes."""
    tokenizer = tokenizer_of(kind)
    deque(tokenizer.encode_iterable(stream(WARM)), maxlen=0)
    before, most = resident_mib(), 0.0

    def watched() -> Iterator[bytes]:
        nonlocal most
        for number, chunk in enumerate(stream(size)):
            if number % 16 == 0:
                most = max(most, resident_mib() - before)
            yield chunk

    ids = tokenizer.encode_iterable(watched())
    deque(ids, maxlen=0)
    return max(most, resident_mib() - before)


def tokenizer_of(kind: str) -> Tokenizer:
    if kind == "byte":
        return ByteTokenizer()
    tokenizer = train_bpe(stream(1 << 20), 2048, compiled=False)
    tokenizer.compiled = kind == "compiled"
    return tokenizer


def grown_by_holding(size: int) -> float:
    """Return by how many MiB this process has grown when it holds a whole stream."""
    before, held = anonymous_mib(), list(stream(size))
    assert sum(map(len, held)) >= size
    return anonymous_mib() - before


def in_a_process(call: str) -> float:
    """Return what a function of this file gives in a new process, where no memory lies ready to be used again."""
    code = f"from {__name__} import grown, grown_by_holding; print({call})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_the_measure_sees_what_is_held() -> None:
    assert in_a_process(f"grown_by_holding({32 << 20})") > 30


@pytest.mark.parametrize(
    ("kind", "megabytes", "bound"), [("compiled", 64, 4.0), ("byte", 16, 4.0), ("reference", 8, 8.0)]
)
def test_memory_does_not_follow_the_stream(kind: str, megabytes: int, bound: float) -> None:
    """64 MiB for a gigabyte, in proportion; the reference's cache of words, which is bounded, is still filling up."""
    assert in_a_process(f"grown({kind!r}, {megabytes << 20})") < bound


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "megabytes"), [("compiled", 1024), ("byte", 1024), ("reference", 128)])
def test_a_gigabyte_takes_less_than_64_megabytes(kind: str, megabytes: int) -> None:
    assert in_a_process(f"grown({kind!r}, {megabytes << 20})") < 64.0
