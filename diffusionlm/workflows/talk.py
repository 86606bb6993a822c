"""Lines to a person on stderr; every command says what it has to say through here."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print a line to stderr at once."""
    print(text, file=sys.stderr, flush=True)


def plural(number: int, noun: str) -> str:
    """Return "1 shard", "2,000 shards" and so on."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def tell_warnings(tell: Callable[[str], None] = say) -> Iterator[None]:
    """Tell warnings from inside as one line each, without Python's file names; once the work is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        tell(f"warning: {' '.join(str(warning.message).split())}")
