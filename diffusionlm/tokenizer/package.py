"""A tokenizer that the ``tokenizers`` package runs: byte-level files with something that our own encoder does not know.

The package does the whole of it, patterns, normalizers and added tokens, and decides the ids. It takes text alone:
bytes that are not UTF-8 become the tokens of single bytes here, so that nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import alphabet, files
from diffusionlm.tokenizer.base import Tokenizer, pack
from diffusionlm.tokenizer.lossless import to_bytes
from diffusionlm.tokenizer.tokenizer_json import TokenizerFile

if TYPE_CHECKING:
    import tokenizers

_ESCAPED = re.compile("([\ud800-\udfff]+)")


class PackageTokenizer(Tokenizer):
    """A ``tokenizer.json`` in the package's hands.

    Args:
        file: The file, read.

    Raises:
        TokenizerError: The package is not installed, or does not read the file.
    """

    def __init__(self, file: TokenizerFile) -> None:
        if find_spec("tokenizers") is None:
            raise TokenizerError(
                f"{file.path} has {file.foreign}, which needs the tokenizers package, and that is not installed; "
                "install it (uv pip install tokenizers)"
            )
        super().__init__(file.tokens(), file.specials, file.whole)
        self.file = file
        self._byte_ids = [file.model.vocab[alphabet.show(bytes([byte]))] for byte in range(256)]
        self._plain = self._open(False)
        self._with_specials = self._open(True)

    def __reduce__(self) -> tuple[type[PackageTokenizer], tuple[object, ...]]:
        return PackageTokenizer, (self.file,)

    def save(self, folder: Path) -> None:
        files.write_folder(folder, "json", {files.JSON: self.file.text})

    def _open(self, allow_special: bool) -> tokenizers.Tokenizer:
        from tokenizers import Tokenizer as Package

        try:
            package = Package.from_str(self.file.text)
        except Exception as error:  # the package raises nothing narrower
            raise TokenizerError(f"the tokenizers package does not read {self.file.path}: {error}") from None
        package.encode_special_tokens = not allow_special
        return package

    def _ids(self, text: str, allow_special: bool) -> Iterator[int]:
        package = self._with_specials if allow_special else self._plain
        for place, piece in enumerate(_ESCAPED.split(text)):
            if place % 2:
                yield from (self._byte_ids[byte] for byte in to_bytes(piece))
            elif piece:
                yield from package.encode(piece, add_special_tokens=False).ids

    def _stream(self, texts: Iterable[str], allow_special: bool) -> Iterator[bytes]:
        encoder = _Gathering(self, allow_special)
        for text in texts:
            yield encoder.feed(text, final=False)
        yield encoder.feed("", final=True)

    def _plain_encoder(self) -> _Gathering:
        return _Gathering(self, False)

    def _content(self) -> dict[str, object]:
        decisive = ("added_tokens", "model", "normalizer", "pre_tokenizer")
        return {"name": "tokenizers", **{key: self.file.content[key] for key in decisive}}


class _Gathering:
    """A stream that is encoded at its end: where an unknown pattern may be cut, nobody can say."""

    def __init__(self, tokenizer: PackageTokenizer, allow_special: bool) -> None:
        self._tokenizer = tokenizer
        self._allow_special = allow_special
        self._texts: list[str] = []

    def feed(self, text: str, *, final: bool) -> bytes:
        self._texts.append(text)
        if not final:
            return b""
        whole = "".join(self._texts)
        self._texts = []
        return pack(self._tokenizer._ids(whole, self._allow_special))
