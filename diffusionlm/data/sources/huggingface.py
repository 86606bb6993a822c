"""Hugging Face ``datasets``: from the hub, from a local folder of data files, or from ``save_to_disk``.

Not streamed, a dataset is downloaded and kept in ``cache_dir`` once, so that later runs can set ``offline``. Streamed,
it is read over and over while training, tokenized on the way, and nothing of it is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

from diffusionlm.data.documents import Documents, text_to_bytes
from diffusionlm.data.sources.base import Source, check_field, text_of
from diffusionlm.errors import DataError
from diffusionlm.params import Strict
from diffusionlm.paths import UserPath, user_path


class HuggingFaceParams(Strict):
    """A dataset of the Hugging Face hub, or a local one."""

    name: Literal["huggingface"] = "huggingface"
    path: str
    """Name on the hub ("roneneldan/TinyStories"), a folder of data files, or a folder that save_to_disk wrote."""
    config: str | None = None
    """Configuration (subset) of the dataset, where it has several."""
    split: str = "train"
    """Split to learn from."""
    validation_split: str | None = None
    """Split that is held out; without it documents are held out by their hash."""
    text_field: str = "text"
    """Column that holds the text."""
    streaming: bool = False
    """Read while training instead of downloading and tokenizing first."""
    cache_dir: UserPath | None = None
    """Where downloads are kept; by default where ``datasets`` keeps them."""
    offline: bool = False
    """Use only what has been downloaded before."""
    revision: str | None = None
    """Commit, tag or branch of the dataset's repository."""


class HuggingFaceSource(Source):
    """One document per row of one split."""

    Params = HuggingFaceParams

    def __init__(self, params: HuggingFaceParams) -> None:
        self.params = params
        self.streaming = params.streaming
        self.cacheable = not params.streaming

    def read(self) -> Iterator[bytes]:
        """Yield the text of every row in order; a null is an empty document.

        Raises:
            DataError: The dataset, its configuration, split or text column is not there, or cannot be read.
        """
        where, field = self.describe(), self.params.text_field
        with _readable(where):
            for row in self._dataset:
                yield text_to_bytes(text_of(row, field, where), "lossless", where)

    @cached_property
    def _dataset(self) -> Any:
        """The opened split, with only its text column where the columns are known."""
        params = self.params
        with _readable(self.describe()), _offline(params.offline):
            dataset = _open(params)
        if dataset.column_names is None:  # a stream may not know its columns before the first row
            return dataset
        check_field(dataset.column_names, params.text_field, self.describe())
        return dataset.select_columns([params.text_field])

    def validation(self) -> Documents | None:
        """Return the validation split where one is named.

        Of a streamed dataset it is streamed too (a download would fetch every split), but once, to its end.
        """
        if self.params.validation_split is None:
            return None
        held_out = {"split": self.params.validation_split, "validation_split": None}
        source = HuggingFaceSource(self.params.model_copy(update=held_out))
        source.streaming = False
        return source

    @property
    def count(self) -> int | None:
        """The number of rows; None for a stream."""
        return None if self.params.streaming else len(self._dataset)

    @property
    def expected_bytes(self) -> int | None:
        """The size of the text column, with a few bytes for each row; None for a stream."""
        if self.params.streaming:
            return None
        dataset = self._dataset
        table = dataset.data
        # A dataset that was filtered or shuffled keeps the whole table and a list of its own rows.
        return round(table.column(self.params.text_field).nbytes * len(dataset) / max(1, table.num_rows))

    @property
    def fingerprint(self) -> str:
        """The parameters and, unless it is streamed, the fingerprint that ``datasets`` gives the split."""
        content = "stream" if self.params.streaming else self._dataset._fingerprint
        return hashlib.sha256(f"{self.params.model_dump_json()}/{content}".encode()).hexdigest()

    def describe(self) -> str:
        """Name the dataset and split."""
        return f"dataset {self.params.path!r} (split {self.params.split!r})"


def _open(params: HuggingFaceParams) -> Any:
    """Open one split with ``datasets``."""
    import datasets

    local = user_path(params.path)
    if (local / "state.json").is_file() or (local / "dataset_dict.json").is_file():
        saved = datasets.load_from_disk(str(local))
        if isinstance(saved, datasets.DatasetDict):
            if params.split not in saved:
                raise ValueError(f"Unknown split {params.split!r}. Should be one of {sorted(map(str, saved))}.")
            saved = saved[params.split]
        return saved.to_iterable_dataset() if params.streaming else saved
    return datasets.load_dataset(
        str(local) if local.is_dir() else params.path,
        params.config,
        split=params.split,
        streaming=params.streaming,
        cache_dir=None if params.cache_dir is None else str(params.cache_dir),
        revision=params.revision,
    )


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Turn what ``datasets`` raises about a dataset into one line."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (DatasetsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"cannot read {where}: {reason[:300]}; check path, config, split and revision, or the network"
        ) from error


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """Keep ``datasets`` and the hub's client off the network while a dataset is opened."""
    import datasets.config
    import huggingface_hub.constants

    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    if offline:
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before
