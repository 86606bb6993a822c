"""The decorator of every compiled function here: Numba's, with a cache that knows all the sources.

Numba keeps machine code beside the one file that a function stands in, and looks at that file alone to see whether it
still holds. What a function calls in another file is compiled into it: after a change there, or after an upgrade that
leaves the caller's file as it was, the old code would run on. Here the cache's folder is named after the sources of
them all. Folders of other sources are removed when they are old: a process that began with those sources may still run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config
from numba.misc.appdirs import AppDirs

_SETTING = "CACHE_DIR"
STALE_SECONDS = 30 * 24 * 3600
"""A folder of other sources in which nothing was written for so long is nobody's any more."""
PREFIX = "numba-"
"""How the names of the folders begin."""


def folder_name(sources: Path) -> str:
    """Return the name of the cache of all Python files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(sources.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return PREFIX + digest.hexdigest()[:16]


@cache
def cache_folder() -> Path:
    """Return where machine code is kept: NUMBA_CACHE_DIR, or beside the sources, or the user's cache folder."""
    here = Path(__file__).parent
    beside = here / "__pycache__"
    if chosen := getattr(config, _SETTING):
        parent = Path(chosen)
    elif os.access(beside if beside.is_dir() else here, os.W_OK):
        parent = beside
    else:
        parent = Path(AppDirs(appname="flowlm", appauthor=False).user_cache_dir)
    folder = parent / folder_name(here)
    if not folder.is_dir():
        _remove_stale(parent, folder)
    return folder


def _remove_stale(parent: Path, current: Path) -> None:
    """Remove the old folders of other sources."""
    for other in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process may be removing it, too
            newest = max(path.stat().st_mtime for path in (other, *other.iterdir()))
            if other != current and time.time() - newest > STALE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function when it is first called, without the interpreter's lock.

    Args:
        options: Of ``numba.njit``: ``inline="always"``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        before = getattr(config, _SETTING)
        setattr(config, _SETTING, str(cache_folder()))  # Numba reads it while it decorates, and never again
        try:
            return njit(cache=True, nogil=True, **options)(function)
        finally:
            setattr(config, _SETTING, before)

    return decorate
