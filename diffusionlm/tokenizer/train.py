"""Train a byte-level BPE: count words once, then merge the most frequent pair again and again, in place.

All distinct words lie in one array of symbols, one entry for each byte, -1 between words. A symbol of several bytes
keeps its id at its first and last byte and -1 inside, so the neighbours of a pair are found by plain arithmetic. For
every pair its total count and the places where it was seen are kept; a heap hands out the most frequent one. Applying a
merge visits the pair's places only and corrects the counts of the pairs beside it: the work is the number of symbols
merged, not merges times corpus. A place that another merge has overwritten no longer reads as the pair and is skipped;
a heap entry whose count has shrunk goes back with its new count. A pair gains places only while the younger of its two
symbols is made and loses them ever after, so both short cuts are exact.

Sennrich, Haddow & Birch, https://arxiv.org/abs/1508.07909.
"""

from __future__ import annotations

import heapq
import warnings
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from diffusionlm.errors import TokenizerError
from diffusionlm.params import Strict
from diffusionlm.tokenizer.base import (
    EOS,
    SpecialTokens,
    Text,
    Texts,
    TokenizerRecipe,
    special_tokens_problem,
)
from diffusionlm.tokenizer.bpe import BPETokenizer, Pair
from diffusionlm.tokenizer.counting import WordCounter, first_bytes, plain_pieces
from diffusionlm.tokenizer.lossless import to_bytes
from diffusionlm.tokenizer.pretokenize import Pattern
from diffusionlm.tokenizer.training import Training, Words

BYTES = 256
APART = -1
"""What lies between words and inside a symbol of several bytes."""


class BPEParams(Strict):
    """Byte-level BPE, trained on the corpus."""

    name: Literal["bpe"] = "bpe"
    vocab_size: int = 4096
    """All ids: 256 bytes, the merges and the special tokens."""
    special_tokens: SpecialTokens = [EOS]
    """Control tokens, last in the vocabulary; <|endoftext|>, which ends every document, must be among them."""
    train_bytes: int = Field(default=10_000_000, gt=0)
    """Training reads this many bytes of the corpus, from its start, and no more."""
    pattern: Pattern = "gpt2"
    """How text is cut into words: GPT-2's way, GPT-4's (and Llama 3's), or Qwen's."""


class BPERecipe(TokenizerRecipe):
    """Train on the corpus at hand."""

    Params = BPEParams
    trains = True

    def __init__(self, params: BPEParams) -> None:
        self.params = params

    def build(self, texts: Texts | None) -> BPETokenizer:
        if texts is None:
            raise TokenizerError(
                "a bpe tokenizer is trained on a corpus and none is given; give one, or read a folder (name = 'files')"
            )
        params = self.params
        return train_bpe(texts(), params.vocab_size, params.special_tokens, params.train_bytes, params.pattern)

    def training(self) -> BPETraining:
        params = self.params
        return BPETraining(params.vocab_size, params.special_tokens, params.train_bytes, params.pattern)


class BPETraining(Training):
    """The training of one vocabulary: count, then merge.

    Args:
        vocab_size, special_tokens, train_bytes, pattern, compiled: As for ``train_bpe``.

    Raises:
        TokenizerError: The vocabulary has no room for bytes and specials.
    """

    def __init__(
        self,
        vocab_size: int,
        special_tokens: Sequence[str] = (EOS,),
        train_bytes: int | None = None,
        pattern: Pattern = "gpt2",
        compiled: bool | None = None,
    ) -> None:
        if problem := special_tokens_problem(special_tokens):
            raise TokenizerError(problem)
        self.least = BYTES + len(special_tokens)
        if vocab_size < self.least:
            raise TokenizerError(
                f"vocab_size {vocab_size} is too small; 256 bytes and {len(special_tokens)} special tokens need "
                f"{self.least} ids"
            )
        self.vocab_size, self.special_tokens, self.train_bytes = vocab_size, special_tokens, train_bytes
        self.pattern: Pattern = pattern
        self._counter = WordCounter(pattern, compiled)

    @property
    def full(self) -> bool:
        return self.train_bytes is not None and self.size >= self.train_bytes

    def read(self, texts: Iterable[Text]) -> None:
        if self.full:
            return
        left = None if self.train_bytes is None else self.train_bytes - self.size
        texts = self._measured(texts)
        self._counter.add(plain_pieces(texts if left is None else first_bytes(texts, left), self.special_tokens))

    def _measured(self, texts: Iterable[Text]) -> Iterator[bytes]:
        for text in texts:
            data = to_bytes(text) if isinstance(text, str) else bytes(text)
            self.size += len(data)
            yield data

    def words(self) -> Words:
        return self._counter.words()

    def restore(self, words: Words, size: int) -> None:
        self._counter.restore(words)
        self.size = size

    def finish(self) -> BPETokenizer:
        merges = _merges_of(self._counter, self.vocab_size - self.least)
        if merges is None:
            raise TokenizerError("cannot train a tokenizer: the corpus holds no text; check its path and filters")
        if len(merges) < self.vocab_size - self.least:
            warnings.warn(
                f"the corpus ran out of pairs to merge: the vocabulary has {self.least + len(merges)} ids, not "
                f"{self.vocab_size}",
                stacklevel=2,
            )
        return BPETokenizer.from_merges(merges, self.special_tokens, self.pattern)


def train_bpe(
    texts: Iterable[Text],
    vocab_size: int,
    special_tokens: Sequence[str] = (EOS,),
    train_bytes: int | None = None,
    pattern: Pattern = "gpt2",
    compiled: bool | None = None,
) -> BPETokenizer:
    """Return a tokenizer of ``vocab_size`` ids (256 bytes, merges, specials) trained on ``texts``.

    The result depends on the words' counts alone, not on the order of the texts. Ties go to the lexicographically
    greatest pair of byte strings. Names of special tokens in the texts are cut out, so that no merge learns from them.

    Args:
        texts: Documents; no word spans two of them.
        vocab_size: All ids. A corpus that runs out of pairs gives fewer, with a warning.
        special_tokens: Control tokens, numbered last.
        train_bytes: Read at most this many bytes of UTF-8.
        pattern: How text is cut into words.
        compiled: Use the compiled path always, never, or where it is worth it; it changes nothing but the time.

    Raises:
        TokenizerError: The vocabulary has no room for bytes and specials, or there is no text.
    """
    training = BPETraining(vocab_size, special_tokens, train_bytes, pattern, compiled)
    training.read(texts)
    return training.finish()


def _merges_of(counter: WordCounter, n_merges: int) -> list[tuple[bytes, bytes]] | None:
    """Return the merges of counted words by the reference or the compiled path; None where there is no word."""
    if counter.large is None:
        return learn_merges(counter.small, n_merges) if counter.small else None
    from diffusionlm.tokenizer.compiled import train

    return train.learn_merges(counter.words(), n_merges)


def learn_merges(counts: Mapping[bytes, int], n_merges: int) -> list[tuple[bytes, bytes]]:
    """Return the first ``n_merges`` merges of the words in ``counts``, fewer if no pair is left."""
    table = _PairTable(counts)
    tokens = [bytes([b]) for b in range(BYTES)]
    keys = [_descending(token) for token in tokens]
    heap = [(-total, keys[pair[0]], keys[pair[1]], pair) for pair, total in table.totals.items()]
    heapq.heapify(heap)
    merges: list[tuple[bytes, bytes]] = []
    while heap and len(merges) < n_merges:
        seen, left_key, right_key, pair = heap[0]
        total = table.totals[pair]
        if total != -seen:
            if total:
                heapq.heapreplace(heap, (-total, left_key, right_key, pair))
            else:
                heapq.heappop(heap)
            continue
        heapq.heappop(heap)
        left, right = pair
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
        keys.append(_descending(tokens[-1]))
        for pair in table.merge(left, right):
            heapq.heappush(heap, (-table.totals[pair], keys[pair[0]], keys[pair[1]], pair))
    assert len(set(tokens)) == len(tokens), "two merges made one token"
    return merges


def _descending(token: bytes) -> str:
    """Return a key that sorts byte strings from the greatest to the least, a longer one before its prefix."""
    return token.translate(bytes(range(255, -1, -1))).decode("latin-1") + "\u0100"


class _PairTable:
    """The words as symbols, and for each pair of neighbours its total count and the places where it was seen."""

    def __init__(self, counts: Mapping[bytes, int]) -> None:
        self.totals: defaultdict[Pair, int] = defaultdict(int)
        self._places: defaultdict[Pair, array[int]] = defaultdict(lambda: array("i"))
        self._symbols, self._weights = array("i", [APART]), array("q", [0])
        self._lengths = [1] * BYTES
        for word, count in counts.items():
            self._symbols.extend(word)
            self._symbols.append(APART)
            self._weights.extend([count] * (len(word) + 1))
        left = APART
        for place, right in enumerate(self._symbols):
            if left != APART and right != APART:
                self.totals[left, right] += self._weights[place]
                self._places[left, right].append(place - 1)
            left = right

    def merge(self, left: int, right: int) -> set[Pair]:
        """Replace the pair by a new symbol everywhere; return the pairs that this has brought into being.

        Places are kept in ascending order (each pair is filled by one ascending pass), so overlapping pairs, "aaa", are
        merged from the left.
        """
        totals, places, symbols, lengths = self.totals, self._places, self._symbols, self._lengths
        new, left_length, right_length = len(lengths), lengths[left], lengths[right]
        lengths.append(left_length + right_length)
        born: set[Pair] = set()
        for place in places.pop((left, right)):
            middle = place + left_length
            if symbols[place] != left or symbols[middle] != right:
                continue
            weight, end = self._weights[place], middle + right_length
            before, after = symbols[place - 1], symbols[end]
            symbols[middle - 1] = symbols[middle] = APART
            symbols[place] = symbols[end - 1] = new
            if before != APART:
                totals[before, left] -= weight
                totals[before, new] += weight
                places[before, new].append(place - lengths[before])
                born.add((before, new))
            if after != APART:
                totals[right, after] -= weight
                totals[new, after] += weight
                places[new, after].append(place)
                born.add((new, after))
        del totals[left, right]
        return {pair for pair in born if totals[pair]}
