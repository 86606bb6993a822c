"""The run folder: who may write there, and what a run leaves in it besides metrics and checkpoints.

config.toml    the resolved configuration        run.json       command, commit, versions, host, seed, data hashes
tokenizer/     the tokenizer's files              checkpoints/   step-N folders
metrics.jsonl, samples.jsonl
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionlm.checkpoint import clean_leftovers, list_checkpoints, newest_good, resolve_checkpoint
from diffusionlm.errors import CheckpointError, ConfigError
from diffusionlm.tokenizer import Tokenizer, save_whole

CHECKPOINTS = "checkpoints"
CONFIG, PROVENANCE, TOKENIZER = "config.toml", "run.json", "tokenizer"


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        checkpoint: The checkpoint to continue from; None = from nothing.
        in_place: Whether that checkpoint belongs to this run folder.
        notes: One line each for damaged checkpoints that were passed over.
    """

    checkpoint: Path | None
    in_place: bool
    notes: tuple[str, ...] = ()


@contextmanager
def folder_errors(folder: Path, key: str = "run.folder") -> Iterator[None]:
    """Turn what the system refuses inside into one line; a full device is left to the command, which knows better.

    Args:
        folder: The folder.
        key: Where the configuration names it.

    Raises:
        ConfigError: Something in the run folder cannot be read or written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(
            f"run folder {folder} cannot be used: {error.strerror or error} ({error.filename or folder}); "
            f"choose another {key}, or mend its permissions"
        ) from error


def decide_start(folder: Path, resume: str) -> Start:
    """Decide between a fresh run and a resumed one, and refuse to overwrite anything.

    Args:
        folder: The run folder.
        resume: ``""``, ``"auto"`` or the name of a checkpoint (see ``resolve_checkpoint``).

    Raises:
        ConfigError: The folder holds something and nothing says to continue it, or it cannot be read or written.
        CheckpointError: What should be continued is missing or damaged.
    """
    with folder_errors(folder):
        check_writable(folder)
        return _decide(folder, resume)


def check_writable(folder: Path) -> None:
    """Find out now, not after the tokenizer has been trained, that the folder cannot be made or written to.

    Raises:
        OSError: It cannot; names what is in the way.
    """
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if place == folder.absolute() and not place.is_dir():
        return  # a file in the folder's place has a message of its own
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _decide(folder: Path, resume: str) -> Start:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"run folder {folder} is a file; choose another run.name or run.folder")
    if resume == "auto":
        return _automatic(folder)
    occupied = folder.is_dir() and any(folder.iterdir())
    if not resume:
        if occupied:
            what = "a run" if (folder / PROVENANCE).exists() else "files that are not a run's"
            advice = "add --resume auto to continue it, or " if what == "a run" else ""
            raise ConfigError(
                f"run folder {folder} is not empty: it holds {what}; {advice}choose another run.name, or remove it"
            )
        return Start(None, True)
    resolved = resolve_checkpoint(resume)
    inside = resolved.path.resolve().parent == (folder / CHECKPOINTS).resolve()
    if occupied and not inside:
        raise ConfigError(
            f"{resolved.path} belongs to another run and run folder {folder} is not empty; choose another run.name"
        )
    return Start(resolved.path, inside, tuple(skipped.reason for skipped in resolved.skipped))


def _automatic(folder: Path) -> Start:
    if not folder.is_dir() or not any(folder.iterdir()):
        return Start(None, True)
    clean_leftovers(folder / CHECKPOINTS)
    if list_checkpoints(folder / CHECKPOINTS):
        newest = newest_good(folder / CHECKPOINTS)
        if newest.path is None:
            raise CheckpointError(f"no good checkpoint in {folder}: {newest.skipped[0].reason}")
        return Start(newest.path, True, tuple(skipped.reason for skipped in newest.skipped))
    if not (folder / PROVENANCE).exists():
        raise ConfigError(f"run folder {folder} holds files that are not a run's; choose another run.name, or empty it")
    return Start(None, True, (f"{folder} holds a run without a checkpoint yet: it starts anew",))


def write_description(folder: Path, tables: Mapping[str, Any], provenance: dict[str, Any]) -> None:
    """Write ``config.toml`` and append to ``run.json``, one entry for each session of the run.

    Raises:
        ConfigError: The folder cannot be written.
    """
    import tomli_w

    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # run.json first: it is what tells a run's folder, so that a run which ends right here can be started again.
        path = folder / PROVENANCE
        sessions = _read_sessions(path)
        _replace(path, json.dumps({"sessions": [*sessions, provenance]}, indent=1) + "\n")
        _replace(folder / CONFIG, tomli_w.dumps(tables))


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer's files, all of them or none, unless they are there.

    Raises:
        ConfigError: The folder cannot be written.
    """
    with folder_errors(folder):
        save_whole(tokenizer, folder / TOKENIZER)


def _read_sessions(path: Path) -> list[Any]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["sessions"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []  # the first session, or a file torn by a crash: history, nothing that a run needs


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
