"""Byte-level byte-pair encoding: words fall into bytes, then the most urgent merge is applied until none fits.

Real text repeats itself, so the ids of each word are remembered (packed, so that a document is one join); and a word
never costs more than n log n, because adjacent pairs wait in a heap. Here it is done in plain Python, which is the
reference; from a megabyte of text on ``tokenizer/compiled`` does the same, where Numba is installed.

Sennrich, Haddow & Birch, https://arxiv.org/abs/1508.07909; on bytes as in GPT-2 (Radford et al., 2019).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import alphabet, files, tokenizer_json_write
from diffusionlm.tokenizer.base import PlainEncoder, Text, Tokenizer, pack
from diffusionlm.tokenizer.compiled import available, worthwhile
from diffusionlm.tokenizer.ids import collected
from diffusionlm.tokenizer.lossless import to_bytes
from diffusionlm.tokenizer.normalize import NFCStream, Normalizer, nfc
from diffusionlm.tokenizer.pretokenize import PATTERNS, Pattern, WordStream
from diffusionlm.tokenizer.tokenizer_json import TokenizerFile, Vocabulary

if TYPE_CHECKING:
    import numpy as np

    from diffusionlm.tokenizer.compiled.decode import Decoder
    from diffusionlm.tokenizer.compiled.engine import Engine, Stream

Pair = tuple[int, int]

CACHED_WORDS = 1 << 17
CACHED_LENGTH = 64
"""The cache's bounds, in words and in characters of a word: some 30 MB. A longer word seldom comes twice."""


class BPETokenizer(Tokenizer):
    """GPT-2's kind of tokenizer.

    Args:
        vocab: Token → id, all 256 single bytes and every merge's product included, specials not.
        merges: Pairs of tokens, the most urgent first.
        specials: Special token → id. An id below K that none has stands for no bytes.
        pattern: How text is cut into words.
        whole: See ``Tokenizer``.
        normalizer: What is done to text before it is cut.
        ignore_merges: A word that is a token is that token, whatever the merges make of it (Llama 3).
        compiled: Use the compiled path always (True), never (False), or where it is worth it. It never changes an id.
    """

    def __init__(
        self,
        vocab: Mapping[bytes, int],
        merges: Sequence[tuple[bytes, bytes]],
        specials: Mapping[str, int],
        pattern: Pattern = "gpt2",
        compiled: bool | None = None,
        *,
        whole: Mapping[str, int] | None = None,
        normalizer: Normalizer | None = None,
        ignore_merges: bool = False,
    ) -> None:
        names = {id: to_bytes(name) for name, id in {**specials, **(whole or {})}.items()}
        tokens = {id: token for token, id in vocab.items()} | names
        assert len(tokens) == len(vocab) + len(names), (len(tokens), len(vocab), len(names))
        size = 1 + max(tokens)
        super().__init__([tokens.get(i, b"") for i in range(size)], specials, whole)
        self.normalizer: Normalizer | None = normalizer
        self.ignore_merges = ignore_merges
        self.merges = list(merges)
        self._vocab = dict(vocab)
        self._byte_ids = [vocab[bytes([b])] for b in range(256)]
        self._products = [vocab[left + right] for left, right in merges]
        self._ranks = {(vocab[left], vocab[right]): rank for rank, (left, right) in enumerate(merges)}
        assert len(self._ranks) == len(merges), (len(self._ranks), len(merges))
        self._cache = _WordCache(self._encode_word)
        self.pattern: Pattern = pattern
        self.compiled = compiled
        self._seen = 0
        self._engine: Engine | None = None
        self._decoded = 0
        self._decoder: Decoder | None = None

    @classmethod
    def from_merges(
        cls, merges: Sequence[tuple[bytes, bytes]], special_tokens: Sequence[str], pattern: Pattern = "gpt2"
    ) -> BPETokenizer:
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
        return cls(vocab, merges, specials, pattern)

    def __reduce__(self) -> tuple[Callable[..., BPETokenizer], tuple[object, ...]]:
        # The cache stays behind.
        return BPETokenizer._of, (self._parts(), self.compiled)

    @classmethod
    def _of(cls, parts: Vocabulary, compiled: bool | None = None) -> BPETokenizer:
        return cls(
            parts.vocab,
            parts.merges,
            parts.specials,
            parts.pattern,
            compiled,
            whole=parts.whole,
            normalizer=parts.normalizer,
            ignore_merges=parts.ignore_merges,
        )

    def _parts(self) -> Vocabulary:
        return Vocabulary(
            self._vocab, self.merges, self.specials, self.whole, self.pattern, self.normalizer, self.ignore_merges
        )

    # Text → ids

    def encode(self, text: Text, *, allow_special: bool = False) -> list[int]:
        engine, plain = self.engine(len(text)), self._plain(text, allow_special)
        if engine is None or plain is None:
            return super().encode(text, allow_special=allow_special)
        return engine.encode_list(plain)

    def encode_array(self, text: Text, *, allow_special: bool = False) -> np.ndarray:
        engine, plain = self.engine(len(text)), self._plain(text, allow_special)
        if engine is None or plain is None:
            return super().encode_array(text, allow_special=allow_special)
        return engine.encode(plain)

    def encode_documents(self, documents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        engine = self.engine(sum(map(len, documents)))
        plain = [self._plain(document, False) for document in documents]
        kept = [document for document in plain if document is not None]
        if engine is None or len(kept) < len(documents):
            return super().encode_documents(documents)
        return engine.encode_many(kept)

    def encode_batch(self, texts: Iterable[Text], *, allow_special: bool = False) -> list[list[int]]:
        texts = list(texts)
        engine = self.engine(sum(map(len, texts)))
        plain = [text for text in (self._plain(text, allow_special) for text in texts) if text is not None]
        if engine is None or len(plain) < len(texts):
            return super().encode_batch(texts, allow_special=allow_special)
        return engine.encode_batch(plain)

    @property
    def releases_lock(self) -> bool:
        return self.compiled or (self.compiled is None and available())

    def engine(self, size: int) -> Engine | None:
        """Return the compiled encoder where it is worth it for ``size`` more bytes or characters of text."""
        self._seen += size
        if self._engine is None and worthwhile(self._seen, self.compiled):
            from diffusionlm.tokenizer.compiled.engine import Engine

            given = self._vocab if self.ignore_merges else {}
            self._engine = Engine.of(self._byte_ids, self._ranks, self._products, self.pattern, given)
        return self._engine

    def _plain(self, text: Text, allow_special: bool) -> bytes | None:
        """Return the normalized bytes of a text, or None where a name in it must be looked for first."""
        data = to_bytes(text) if isinstance(text, str) else bytes(text)
        if any(to_bytes(name) in data for name in self._names(allow_special)):
            return None
        return data if self.normalizer is None else nfc(data)

    def _plain_encoder(self) -> PlainEncoder:
        return _BPEEncoder(self)

    def _encode_word(self, word: str) -> bytes:
        data = to_bytes(word)
        if self.ignore_merges and data in self._vocab:
            return pack([self._vocab[data]])
        ids = [self._byte_ids[b] for b in data]
        return pack(merge_word(ids, self._ranks, self._products))

    # Ids → text

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        given = collected(ids)
        decoder = None if skip_special else self._decoder_of(len(given))
        decoded = None if decoder is None else decoder.decode(given)
        return super().decode_bytes(given, skip_special=skip_special) if decoded is None else decoded

    def _decoder_of(self, size: int) -> Decoder | None:
        """Return the compiled decoder where it is worth it for ``size`` more ids."""
        self._decoded += size
        if self._decoder is None and worthwhile(self._decoded, self.compiled):
            from diffusionlm.tokenizer.compiled.decode import Decoder

            self._decoder = Decoder(self._tokens)
        return self._decoder

    def _content(self) -> dict[str, object]:
        tokens = [token.hex() for token in self._tokens]
        merges = [[left.hex(), right.hex()] for left, right in self.merges]
        content: dict[str, object] = {
            "name": "bpe",
            "pattern": PATTERNS[self.pattern],
            "tokens": tokens,
            "merges": merges,
            "specials": self.specials,
        }
        # Named only where they are set, so that a fingerprint from before they were known still holds.
        further = {"whole": self.whole, "normalizer": self.normalizer, "ignore_merges": self.ignore_merges}
        return content | {key: value for key, value in further.items() if value}

    # Files

    def save(self, folder: Path) -> None:
        everything = {files.JSON: tokenizer_json_write.write(self._parts())}
        if not self._is_gpt2s_kind():
            files.write_folder(folder, "json", everything)
            return
        vocab = {alphabet.show(token): id for token, id in self._vocab.items()} | self.specials
        vocab = dict(sorted(vocab.items(), key=lambda item: item[1]))
        merges = [(alphabet.show(left), alphabet.show(right)) for left, right in self.merges]
        texts = {
            files.VOCAB: files.to_json(vocab),
            files.MERGES: files.write_merges(merges),
            files.SPECIALS: files.to_json(self.specials),
            **everything,
        }
        files.write_folder(folder, "bpe", texts, {} if self.pattern == "gpt2" else {"pattern": self.pattern})

    def _is_gpt2s_kind(self) -> bool:
        """Return whether vocab.json, merges.txt and the special tokens are all there is to say."""
        made = 256 + len(set(self._products))
        plain = not (self.whole or self.normalizer or self.ignore_merges)
        return plain and len(self._vocab) == made and self.vocab_size == made + len(self.specials)

    @classmethod
    def read_json(cls, file: TokenizerFile) -> BPETokenizer:
        """Return the tokenizer of a ``tokenizer.json`` in which nothing is ``foreign``."""
        return cls._of(file.vocabulary())

    @classmethod
    def load(cls, folder: Path) -> BPETokenizer:
        """Read ``vocab.json``, ``merges.txt`` and, if it is there, ``special_tokens.json``.

        Raises:
            TokenizerError: A file is missing or damaged, or the three contradict one another.
        """
        path = Path(folder) / files.VOCAB
        shown = files.read_ids(path)
        merges = files.read_merges(Path(folder) / files.MERGES)
        specials = files.read_specials(Path(folder), shown, merges)
        shown |= specials
        files.check_contiguous(shown, path)
        files.check_tokens(path, shown, merges, specials)
        vocab = {alphabet.read(token): id for token, id in shown.items() if token not in specials}
        pairs = [(alphabet.read(left), alphabet.read(right)) for left, right in merges]
        return cls(vocab, pairs, specials, files.read_pattern(Path(folder), tuple(PATTERNS)))  # type: ignore[arg-type]


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
    """A stream of one text; it goes over to the compiled path where that has become worth it."""

    def __init__(self, tokenizer: BPETokenizer) -> None:
        self._tokenizer = tokenizer
        self._words = WordStream(tokenizer.pattern)
        self._nfc = None if tokenizer.normalizer is None else NFCStream()
        self._compiled: Stream | None = None

    def feed(self, text: str, *, final: bool) -> bytes:
        if self._nfc is not None:
            text = self._nfc.feed(text, final=final)
        if self._compiled is None and (engine := self._tokenizer.engine(len(text))) is not None:
            self._compiled = engine.stream()
            text = self._words.rest() + text
        if self._compiled is not None:
            return self._compiled.feed(to_bytes(text), final=final)
        return b"".join(map(self._tokenizer._cache.__getitem__, self._words.feed(text, final=final)))


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
