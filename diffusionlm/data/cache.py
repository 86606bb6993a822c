"""Tokenized text kept for the next run: a folder of shards per (documents, tokenizer), made once."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

from diffusionlm.data.documents import Documents
from diffusionlm.data.make import make_data
from diffusionlm.data.shards import INDEX, VERSION, open_shards
from diffusionlm.data.store import TokenStore
from diffusionlm.errors import ConfigError, DataError, TokenizerError
from diffusionlm.paths import user_path
from diffusionlm.tokenizer import Tokenizer

STALE_SECONDS = 24 * 3600
"""A half-made entry in which nothing has been written for so long is a killed run's."""

_ADVICE = "set data.cache to a folder or to 'none', or the environment's FLOWLM_CACHE to a folder"


class UnwritableCache(DataError):
    """The cache's folder cannot be made or written, or is full: a mistake, or a machine where nothing can be kept."""


def cache_folder(setting: str) -> Path | None:
    """Return the folder that ``DataParams.cache`` names; None is no cache.

    Args:
        setting: A folder, ``"none"``, or ``"auto"``: ``$FLOWLM_CACHE`` if it is set, else ``~/.cache/flowlm``.

    Raises:
        UnwritableCache: The folder lies in a home folder that is not known.
    """
    if setting == "none":
        return None
    if setting == "auto":
        setting = os.environ.get("FLOWLM_CACHE") or "~/.cache/flowlm"
    try:
        return user_path(setting)
    except ConfigError as error:
        raise UnwritableCache(f"cannot write the token cache {error}; {_ADVICE}") from None


def cached_store(documents: Documents, tokenizer: Tokenizer, folder: Path, workers: int) -> TokenStore:
    """Open the tokens of these documents from the cache, making them first where they are not there.

    Args:
        documents: What to tokenize.
        tokenizer: The tokenizer.
        folder: The cache.
        workers: Processes that tokenize.

    Raises:
        DataError: There are no documents, or the cache is damaged.
        UnwritableCache: It cannot be written, or the disk is full; what was written is removed.
    """
    name = hashlib.sha256(f"{VERSION}/{documents.fingerprint}/{tokenizer.fingerprint()}".encode()).hexdigest()[:32]
    entry = folder / "tokens" / name
    if not (entry / INDEX).is_file():
        _make(documents, tokenizer, entry, workers)
    try:
        store = open_shards(entry)
    except DataError as error:
        raise DataError(f"the token cache is damaged, delete {str(entry)!r} and start again ({error})") from None
    store.check_tokenizer(tokenizer, f"token cache {str(entry)!r}")
    return store


def _make(documents: Documents, tokenizer: Tokenizer, entry: Path, workers: int) -> None:
    """Make the entry beside its place and rename it, so that no run ever sees half of one."""
    temporary = entry.with_name(f"{entry.name}.{os.getpid()}.tmp")
    _remove_stale(entry.parent)
    try:
        make_data(documents, tokenizer, temporary, workers=workers)
        temporary.rename(entry)
    except (OSError, TokenizerError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(reason, OSError):
            raise
        # Another run may have made the same entry in the meantime; anything else is the disk.
        if not (entry / INDEX).is_file():
            raise UnwritableCache(
                f"cannot write the token cache {str(entry.parent)!r}: {reason.strerror}; {_ADVICE}"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left half-made: it is as large as the text and nobody would ever open it."""
    for left in folder.glob("*.tmp"):
        try:
            stale = time.time() - left.stat().st_mtime > STALE_SECONDS
        except OSError:  # its own run has just renamed or removed it
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)
