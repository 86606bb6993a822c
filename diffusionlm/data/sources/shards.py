"""Token shards that ``flowlm-make-data`` wrote; they are trained on as they are and read back as text where needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from diffusionlm.data.documents import Documents
from diffusionlm.data.sources.base import Source
from diffusionlm.errors import DataError
from diffusionlm.params import Strict
from diffusionlm.paths import UserPath

if TYPE_CHECKING:
    from diffusionlm.data.store import TokenStore

TRAIN, VALIDATION = "train", "validation"


class ShardsParams(Strict):
    """A folder of token shards, or one that holds a folder ``train`` and perhaps ``validation`` of them."""

    name: Literal["shards"] = "shards"
    path: UserPath
    """The folder that flowlm-make-data wrote."""
    verify: bool = True
    """Compare the SHA-256 of every shard when it is opened."""


class ShardsSource(Source):
    """Documents that are tokens already."""

    Params = ShardsParams

    def __init__(self, params: ShardsParams) -> None:
        self.params = params
        folder = params.path
        if not folder.is_dir():
            raise DataError(f"shard folder {str(folder)!r} does not exist; make it with flowlm-make-data")
        two_sides = (folder / TRAIN).is_dir()
        self.folder = folder / TRAIN if two_sides else folder
        self.held_out = folder / VALIDATION if two_sides and (folder / VALIDATION).is_dir() else None

    @cached_property
    def _store(self) -> TokenStore:
        from diffusionlm.data.shards import open_shards

        return open_shards(self.folder, self.params.verify)

    def tokens(self) -> TokenStore:
        """Return the tokens themselves."""
        return self._store

    def read(self) -> Iterator[bytes]:
        """Yield the text of every document, decoded by the tokenizer that lies beside the shards."""
        from diffusionlm.data.shards import TOKENIZER_FOLDER
        from diffusionlm.tokenizer import load_tokenizer

        store = self._store
        tokenizer = load_tokenizer(self.folder / TOKENIZER_FOLDER)
        store.check_tokenizer(tokenizer, self.describe())
        for index in range(store.n_documents):
            yield tokenizer.decode_bytes(store.document(index)[:-1].tolist())

    def validation(self) -> Documents | None:
        """Return the shards in ``validation`` where there are any."""
        if self.held_out is None:
            return None
        return ShardsSource(self.params.model_copy(update={"path": self.held_out}))

    @property
    def count(self) -> int:
        """The number of documents."""
        return self._store.n_documents

    @property
    def expected_bytes(self) -> int:
        """The bytes of text that the shards were made from."""
        return self._store.n_bytes

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the tokens."""
        return hashlib.sha256(f"shards/{self._store.fingerprint}".encode()).hexdigest()

    def describe(self) -> str:
        """Name the folder."""
        return f"shard folder {str(self.folder)!r}"
