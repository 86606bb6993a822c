"""Byte-level byte-pair encoding: words fall into bytes, then the most urgent merge is applied until none fits.

Two things make it fast without a compiler. Real text repeats itself, so the ids of each word are remembered (packed, so
that a document is one join); and a word never costs more than n log n, because adjacent pairs wait in a heap.

Sennrich, Haddow & Birch, https://arxiv.org/abs/1508.07909; on bytes as in GPT-2 (Radford et al., 2019).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import alphabet, files
from diffusionlm.tokenizer.base import Tokenizer, pack
from diffusionlm.tokenizer.lossless import to_bytes
from diffusionlm.tokenizer.pretokenize import GPT2_PATTERN, WordStream

Pair = tuple[int, int]

CACHED_WORDS = 1 << 17
CACHED_LENGTH = 64
"""The cache's bounds, in words and in characters of a word: some 30 MB. A longer word seldom comes twice."""


class BPETokenizer(Tokenizer):
    """GPT-2's kind of tokenizer.

    Args:
        vocab: Token → id, all 256 single bytes and every merge's product included, specials not.
        merges: Pairs of tokens, the most urgent first.
        specials: Special token → id. Its ids and ``vocab``'s together are 0..K-1.
    """

    def __init__(
        self, vocab: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]], specials: Mapping[str, int]
    ) -> None:
        tokens = {id: token for token, id in vocab.items()} | {id: to_bytes(name) for name, id in specials.items()}
        assert len(tokens) == len(vocab) + len(specials) == 1 + max(tokens), (len(tokens), len(vocab), len(specials))
        super().__init__([tokens[i] for i in range(len(tokens))], specials)
        self.merges = list(merges)
        self._vocab = dict(vocab)
        self._byte_ids = [vocab[bytes([b])] for b in range(256)]
        self._products = [vocab[left + right] for left, right in merges]
        self._ranks = {(vocab[left], vocab[right]): rank for rank, (left, right) in enumerate(merges)}
        assert len(self._ranks) == len(merges), (len(self._ranks), len(merges))
        self._cache = _WordCache(self._encode_word)

    @classmethod
    def from_merges(cls, merges: Sequence[tuple[bytes, bytes]], special_tokens: Sequence[str]) -> BPETokenizer:
        """Number the ids as this project does: 256 bytes in GPT-2's order, the merges' products, the specials.

        Raises:
            TokenizerError: A special token is written in the files exactly as an ordinary token is.
        """
        vocab = {bytes([b]): i for i, b in enumerate(alphabet.byte_order())}
        for left, right in merges:
            vocab.setdefault(left + right, len(vocab))
        specials = {name: len(vocab) + i for i, name in enumerate(special_tokens)}
        shown = {alphabet.show(token) for token in vocab}
        if clash := next((name for name in specials if name in shown), None):
            raise TokenizerError(
                f"special token {clash!r} is written like an ordinary token; use a longer name, as in '<|{clash}|>'"
            )
        return cls(vocab, merges, specials)

    def __reduce__(self) -> tuple[type[BPETokenizer], tuple[object, ...]]:
        return BPETokenizer, (self._vocab, self.merges, self.specials)  # the cache stays behind

    def _plain_encoder(self) -> _BPEEncoder:
        return _BPEEncoder(self._cache)

    def _encode_word(self, word: str) -> bytes:
        ids = [self._byte_ids[b] for b in to_bytes(word)]
        return pack(merge_word(ids, self._ranks, self._products))

    def _content(self) -> dict[str, object]:
        tokens = [token.hex() for token in self._tokens]
        merges = [[left.hex(), right.hex()] for left, right in self.merges]
        return {"name": "bpe", "pattern": GPT2_PATTERN, "tokens": tokens, "merges": merges, "specials": self.specials}

    # Files

    def save(self, folder: Path) -> None:
        vocab = {alphabet.show(token): id for token, id in self._vocab.items()} | self.specials
        vocab = dict(sorted(vocab.items(), key=lambda item: item[1]))
        merges = [(alphabet.show(left), alphabet.show(right)) for left, right in self.merges]
        texts = {
            files.VOCAB: files.to_json(vocab),
            files.MERGES: files.write_merges(merges),
            files.SPECIALS: files.to_json(self.specials),
        }
        files.write_folder(folder, "bpe", texts)

    @classmethod
    def load(cls, folder: Path) -> BPETokenizer:
        """Read ``vocab.json``, ``merges.txt`` and, if it is there, ``special_tokens.json``.

        Raises:
            TokenizerError: A file is missing or damaged, or the three contradict one another.
        """
        path = Path(folder) / files.VOCAB
        shown = files.read_ids(path)
        merges = files.read_merges(Path(folder) / files.MERGES)
        specials = _read_specials(Path(folder), shown, merges)
        shown |= specials
        files.check_contiguous(shown, path)
        _check_tokens(path, shown, merges, specials)
        vocab = {alphabet.read(token): id for token, id in shown.items() if token not in specials}
        return cls(vocab, [(alphabet.read(left), alphabet.read(right)) for left, right in merges], specials)


class _WordCache(dict[str, bytes]):
    """Word → its packed ids, worked out when first asked for; emptied when full, so that it follows the text."""

    def __init__(self, encode_word: Callable[[str], bytes]) -> None:
        super().__init__()
        self._encode_word = encode_word

    def __missing__(self, word: str) -> bytes:
        packed = self._encode_word(word)
        if len(word) <= CACHED_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = packed
        return packed


class _BPEEncoder:
    def __init__(self, cache: _WordCache) -> None:
        self._cache = cache
        self._words = WordStream()

    def feed(self, text: str, *, final: bool) -> bytes:
        return b"".join(map(self._cache.__getitem__, self._words.feed(text, final=final)))


def merge_word(ids: list[int], ranks: Mapping[Pair, int], products: Sequence[int]) -> list[int]:
    """Return ``ids`` with all merges applied, the lowest rank first and the leftmost of equals first.

    n log n steps: the symbols are a linked list, and (rank, place) of every mergeable pair waits in a heap. An entry
    whose pair has changed since is recognised by its rank and dropped.

    Args:
        ids: The ids of a word's bytes; changed in place.
        ranks: (left id, right id) → rank, lower is more urgent.
        products: rank → the id of the merged token.
    """
    n = len(ids)
    gone = -1
    right_of, left_of = list(range(1, n + 1)), list(range(-1, n - 1))  # n and -1 are the ends
    rank_of = ranks.get
    heap = [(rank, i) for i, pair in enumerate(pairwise(ids)) if (rank := rank_of(pair)) is not None]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = right_of[i]
        if j == n or ids[i] == gone or rank_of((ids[i], ids[j])) != rank:
            continue
        k = right_of[j]
        ids[i], ids[j] = products[rank], gone
        right_of[i] = k
        if k < n:
            left_of[k] = i
            if (rank := rank_of((ids[i], ids[k]))) is not None:
                heapq.heappush(heap, (rank, i))
        h = left_of[i]
        if h >= 0 and (rank := rank_of((ids[h], ids[i]))) is not None:
            heapq.heappush(heap, (rank, h))
    return [id for id in ids if id != gone]


def _read_specials(folder: Path, shown: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the special tokens: those of the file, or without one whatever is neither a byte nor a merge's product."""
    path = folder / files.SPECIALS
    if not path.exists():
        ordinary = {alphabet.show(bytes([b])) for b in range(256)} | {left + right for left, right in merges}
        return {token: id for token, id in shown.items() if token not in ordinary}
    specials = files.read_ids(path)
    for token, id in specials.items():
        if token in shown and shown[token] != id:
            raise TokenizerError(
                f"{path} gives {token!r} the id {id}, {files.VOCAB} gives it {shown[token]}; they must agree"
            )
    return specials


def _check_tokens(
    path: Path, shown: Mapping[str, int], merges: Sequence[tuple[str, str]], specials: Mapping[str, int]
) -> None:
    """Refuse a vocabulary, merges and specials that do not belong together, naming one token that shows it."""
    single = {alphabet.show(bytes([b])) for b in range(256)}
    made = single | {left + right for left, right in merges}
    for pair in merges:
        if part := next((part for part in pair if part not in made), None):
            merge = f"the merge '{pair[0]} {pair[1]}'"
            raise TokenizerError(
                f"{path.parent / files.MERGES}: {part!r} in {merge} is neither a byte nor made by a merge"
            )
    if lacking := made - shown.keys():
        token = min(lacking)
        what = "single byte" if token in single else "merged token"
        raise TokenizerError(f"{path} lacks the {what} {token!r}; it and {files.MERGES} do not belong together")
    if clashing := made & specials.keys():
        raise TokenizerError(
            f"{path.parent / files.SPECIALS}: {min(clashing)!r} is an ordinary token, it cannot be special"
        )
    if orphans := shown.keys() - made - specials.keys():
        raise TokenizerError(f"{path}: no merge makes {min(orphans)!r}; if it is special, list it in {files.SPECIALS}")
