"""A tokenizer in the making: it takes its corpus part by part, so that what was read outlives whoever was reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from diffusionlm.tokenizer.base import Text, Tokenizer


class Words(NamedTuple):
    """Distinct words and how often each occurs, in no particular order."""

    text: np.ndarray
    """(S,) uint8, the words end to end."""
    lengths: np.ndarray
    """(W,) int64."""
    counts: np.ndarray
    """(W,) int64."""


class Training(ABC):
    """A training whose whole knowledge of the corpus is its words.

    Attributes:
        size: Bytes of the corpus that it was given so far.
    """

    size: int = 0

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether more of the corpus would change nothing."""

    @abstractmethod
    def read(self, texts: Iterable[Text]) -> None:
        """Take a part of the corpus, whole documents; it stops in the middle of the part once it is full.

        Whatever breaks into it leaves words that are neither those before nor those after: they are of no use then.
        """

    @abstractmethod
    def words(self) -> Words:
        """Return the words so far."""

    @abstractmethod
    def restore(self, words: Words, size: int) -> None:
        """Go on from the ``words`` that another one had after ``size`` bytes; this one has read nothing yet."""

    @abstractmethod
    def finish(self) -> Tokenizer:
        """Return the tokenizer.

        Raises:
            TokenizerError: The corpus held no text, or what it was trained for is impossible.
        """
