"""What every tokenizer offers: text to contiguous ids and back, for single texts, batches and streams.

The ids 0..K-1 are the data vocabulary, specials included; the mask token of a noising process is a row of the model,
not an id of a tokenizer. Special tokens are opt-in at every call (``allow_special``): text that merely *contains* the
characters ``<|endoftext|>``, a scraped page about tokenizers or a hostile prompt, never yields the control token.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

from pydantic import AfterValidator

from diffusionlm.errors import TokenizerError
from diffusionlm.params import Strict
from diffusionlm.tokenizer.ids import collected, whole
from diffusionlm.tokenizer.lossless import text_blocks, to_text

if TYPE_CHECKING:
    import numpy as np
    import regex

    from diffusionlm.tokenizer.training import Training

EOS = "<|endoftext|>"
"""The special token that ends every document; its name is GPT-2's."""
EOS_NAMES = (EOS, "<|end_of_text|>")
"""The same as vocabularies from elsewhere call it, the first that is there: GPT-2's and Qwen's name, Llama 3's."""

Text = str | bytes
Texts = Callable[[], Iterable[Text]]


class PlainEncoder(Protocol):
    """Ids of one plain text that arrives in pieces."""

    def feed(self, text: str, *, final: bool) -> bytes | bytearray:
        """Add ``text``; return the ids that are now certain (all that are left if ``final``), native uint32s."""
        ...


class Tokenizer(ABC):
    """A lossless map between texts and ids.

    Args:
        tokens: The bytes of every id, specials included (the UTF-8 of their names); its length is K.
        specials: Special token → id.
        whole: Token → id of ordinary text that is looked for before anything else, whatever ``allow_special`` says.

    Attributes:
        vocab_size: K, all ids are in 0..K-1.
        specials: Special token → id.
        whole: See above; most tokenizers have none.
    """

    def __init__(
        self, tokens: Sequence[bytes], specials: Mapping[str, int], whole: Mapping[str, int] | None = None
    ) -> None:
        self.vocab_size = len(tokens)
        self.specials = dict(specials)
        self.whole = dict(whole or {})
        self._tokens = list(tokens)
        self._special_ids = frozenset(self.specials.values())
        assert all(0 <= i < len(tokens) for i in self._special_ids), (len(tokens), self.specials)

    # What a tokenizer must say for itself

    @abstractmethod
    def _plain_encoder(self) -> PlainEncoder:
        """Return a fresh encoder of text in which nothing is special."""

    @abstractmethod
    def _content(self) -> dict[str, object]:
        """Return everything that decides the ids, as JSON values: what ``fingerprint`` hashes."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the files that ``load_tokenizer`` reads into ``folder``, which is made if it is missing.

        Raises:
            TokenizerError: The files cannot be written.
        """

    # Text → ids

    def encode(self, text: Text, *, allow_special: bool = False) -> list[int]:
        """Return the ids of ``text``; names of special tokens in it are ordinary text unless ``allow_special``.

        Bytes that are not UTF-8 are encoded as they are: ``decode_bytes(encode(b)) == b`` for any bytes.
        """
        return memoryview(self._packed(text, allow_special)).cast("I").tolist()

    def encode_array(self, text: Text, *, allow_special: bool = False) -> np.ndarray:
        """Return the ids of ``text`` as a writable uint32 array (N,), without a Python int for each."""
        import numpy as np

        return np.frombuffer(self._packed(text, allow_special), dtype=np.uint32)

    def encode_batch(self, texts: Iterable[Text], *, allow_special: bool = False) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text, allow_special=allow_special) for text in texts]

    def encode_iterable(self, chunks: Iterable[Text], *, allow_special: bool = False) -> Iterator[int]:
        """Yield the ids of the joined chunks, equal to ``encode`` of the whole however it is cut.

        Memory is bounded by the longest word and the largest chunk. A chunk of bytes may end inside a character.
        """
        for packed in self._stream(text_blocks(chunks), allow_special):
            yield from memoryview(packed).cast("I")

    def _packed(self, text: Text, allow_special: bool) -> bytearray:
        return bytearray().join(self._stream(text_blocks([to_text(text)]), allow_special))

    def _stream(self, texts: Iterable[str], allow_special: bool) -> Iterator[bytes | bytearray]:
        encoder = self._plain_encoder()
        names = self._names(allow_special)
        for piece in self._split(texts, names) if names else texts:
            if isinstance(piece, str):
                yield encoder.feed(piece, final=False)
            else:
                yield encoder.feed("", final=True)
                yield pack([piece])
        yield encoder.feed("", final=True)

    def _names(self, allow_special: bool) -> dict[str, int]:
        """Return what is looked for in a text before it is encoded → id."""
        return self.whole | self.specials if allow_special else self.whole

    def _split(self, texts: Iterable[str], names: Mapping[str, int]) -> Iterator[str | int]:
        """Yield plain text as strings and the named tokens as ids; the longest name wins where several begin."""
        longest, pattern = max(map(len, names)), special_pattern(names)
        text = ""
        for piece in chain(texts, [None]):
            final = piece is None
            text += piece or ""
            # A special that begins in the last `longest` - 1 characters may be unfinished, or begin a longer one.
            start, certain = 0, len(text) - (0 if final else longest)
            while (match := pattern.search(text, start)) and match.start() <= certain:
                yield text[start : match.start()]
                yield names[match.group()]
                start = match.end()
            cut = max(start, certain + 1)
            yield text[start:cut]
            text = text[cut:]

    def encode_documents(self, documents: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of some documents end to end, uint32 (N,), and how many each has, int64 (D,)."""
        import numpy as np

        parts = [self.encode_array(document) for document in documents]
        sizes = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        return np.concatenate([np.empty(0, dtype=np.uint32), *parts]), sizes

    @property
    def releases_lock(self) -> bool:
        """Whether threads that encode run side by side, so that processes are not needed for it."""
        return False

    # Ids → text

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes that ``id`` stands for; for a special token, the UTF-8 of its name.

        Raises:
            TokenizerError: No such id, or no integer.
        """
        if not 0 <= (number := whole(id)) < self.vocab_size:
            raise TokenizerError(f"token id {number} is outside this tokenizer's ids 0..{self.vocab_size - 1}")
        return self._tokens[number]

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """Return the bytes of ``ids``, joined; ``skip_special`` leaves special tokens out.

        Raises:
            TokenizerError: An id outside 0..K-1, or something that is no integer.
        """
        ids = [whole(id) for id in collected(ids)]
        if ids:
            for extreme in (min(ids), max(ids)):  # a negative id must not count from the end
                self.token_bytes(extreme)
        if skip_special:
            ids = [i for i in ids if i not in self._special_ids]
        return b"".join(map(self._tokens.__getitem__, ids))

    def decode(self, ids: Iterable[int], *, skip_special: bool = False, errors: str = "replace") -> str:
        """Return the text of ``ids``; ``errors`` says what becomes of bytes that are not UTF-8, as in ``bytes.decode``.

        ``errors="surrogateescape"`` keeps them, so that ``encode`` of the result is the same bytes.
        """
        return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", errors)

    def decode_batch(
        self, batch: Iterable[Iterable[int]], *, skip_special: bool = False, errors: str = "replace"
    ) -> list[str]:
        """Return the text of each sequence of ids."""
        return [self.decode(ids, skip_special=skip_special, errors=errors) for ids in batch]

    # Facts

    @property
    def eos_id(self) -> int:
        """The id of ``<|endoftext|>``, or of what another vocabulary calls it.

        Raises:
            TokenizerError: This tokenizer has no such token.
        """
        name = next((name for name in EOS_NAMES if name in self.specials), None)
        if name is None:
            known = ", ".join(list(self.specials)[:8]) or "none"
            raise TokenizerError(
                f"this tokenizer has no {EOS} token (its special tokens: {known}); every document ends with one"
            )
        return self.specials[name]

    def byte_lengths(self) -> np.ndarray:
        """Return the bytes of text that each id stands for, int64 (K,); special tokens stand for 0."""
        import numpy as np

        lengths = np.fromiter(map(len, self._tokens), dtype=np.int64, count=self.vocab_size)
        lengths[sorted(self._special_ids)] = 0
        return lengths

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of all that decides the ids: equal fingerprints mean equal ids for every text."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        canonical = json.dumps(self._content(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class TokenizerRecipe(ABC):
    """A way to come by a tokenizer: train one, take the bytes, read files. ``Params`` configures it."""

    Params: ClassVar[type[Strict]]
    trains: ClassVar[bool] = False
    """Whether it is the corpus that makes the tokenizer."""

    @abstractmethod
    def build(self, texts: Texts | None) -> Tokenizer:
        """Return the tokenizer; ``texts`` opens the training corpus, document by document, if one is at hand."""

    def training(self) -> Training | None:
        """Return a training that can be cut off and gone on with; None where there is none, and ``build`` is all."""
        return None


def pack(ids: Iterable[int]) -> bytes:
    """Return ``ids`` as native uint32s, the form in which encoded text is kept and joined."""
    from array import array

    packed = array("I", ids)
    assert packed.itemsize == 4, packed.itemsize
    return packed.tobytes()


def special_pattern(specials: Iterable[str]) -> regex.Pattern[str]:
    """Return a pattern that finds any of ``specials``, the longest first where several begin at one place."""
    import regex

    return regex.compile("|".join(regex.escape(name) for name in sorted(specials, key=len, reverse=True)))


def special_tokens_problem(names: Sequence[str]) -> str | None:
    """Return in one line what is wrong with a list of special tokens, or None."""
    if EOS not in names:
        return f"special_tokens must contain {EOS!r}, which ends every document; got {list(names)}"
    if "" in names:
        return "special_tokens must not contain an empty string"
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        return f"special_tokens contains {twice!r} twice; each must be named once"
    return None


def _checked(names: list[str]) -> list[str]:
    if problem := special_tokens_problem(names):
        raise ValueError(problem)
    return names


SpecialTokens = Annotated[list[str], AfterValidator(_checked)]
"""The type of the parameter that lists special tokens: checked when the configuration loads."""
