"""The raw byte tokenizer: the id of a byte is its value, special tokens follow. Nothing to train, nothing to lose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diffusionlm.params import Strict
from diffusionlm.tokenizer import files
from diffusionlm.tokenizer.base import EOS, SpecialTokens, Texts, Tokenizer, TokenizerRecipe
from diffusionlm.tokenizer.lossless import to_bytes


class ByteParams(Strict):
    """One token for each byte, plus the special tokens."""

    name: Literal["byte"] = "byte"
    special_tokens: SpecialTokens = [EOS]
    """Control tokens after the 256 bytes; <|endoftext|>, which ends every document, must be among them."""


class _ByteEncoder:
    def feed(self, text: str, *, final: bool) -> bytes:
        import numpy as np

        return np.frombuffer(to_bytes(text), dtype=np.uint8).astype(np.uint32).tobytes()


class ByteTokenizer(Tokenizer):
    """Ids 0..255 are the byte values; ``special_tokens`` follow in order."""

    def __init__(self, special_tokens: Sequence[str] = (EOS,)) -> None:
        specials = {name: 256 + i for i, name in enumerate(special_tokens)}
        super().__init__([bytes([b]) for b in range(256)] + [to_bytes(name) for name in specials], specials)

    def _plain_encoder(self) -> _ByteEncoder:
        return _ByteEncoder()

    def _content(self) -> dict[str, object]:
        return {"name": "byte", "specials": self.specials}

    def save(self, folder: Path) -> None:
        files.write_folder(folder, "byte", {files.SPECIALS: files.to_json(self.specials)})

    @classmethod
    def load(cls, folder: Path) -> ByteTokenizer:
        """Read what ``save`` wrote.

        Raises:
            TokenizerError: A file is missing or inconsistent.
        """
        specials = files.read_ids(Path(folder) / files.SPECIALS)
        files.check_contiguous(specials, Path(folder) / files.SPECIALS, first=256)
        return cls(sorted(specials, key=specials.__getitem__))


class ByteRecipe(TokenizerRecipe):
    """Bytes need no corpus."""

    Params = ByteParams

    def __init__(self, params: ByteParams) -> None:
        self.params = params

    def build(self, texts: Texts | None) -> ByteTokenizer:
        return ByteTokenizer(self.params.special_tokens)
