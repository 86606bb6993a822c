"""Folders ``step-N`` that appear whole or not at all.

A save goes to a hidden sibling ``.step-N.tmp-<pid>``; the manifest is written last, every file and folder is fsynced,
the sibling is renamed and the parent fsynced. A save that is killed leaves only the sibling, which the next save
removes; a save that meets a full disk removes it at once and leaves every earlier checkpoint as it was. A removal is a
rename first, so that a kill in its middle leaves no half-empty ``step-N``. Nothing else in the folder is touched.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffusionlm.checkpoint.manifest import MANIFEST, check_sizes, record_files, render_manifest, verify
from diffusionlm.errors import CheckpointError, FlowLMError

_STEP = re.compile(r"step-(0|[1-9][0-9]*)")
_LEFTOVER = re.compile(r"\.(step-[0-9]+)\.(tmp|old|trash)-([0-9]+)")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = re.compile(r"No space left|quota exceeded|File too large|os error (?:28|122|27)\b")


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that was passed over.

    Attributes:
        path: Its folder.
        reason: One line that names the file and what is wrong with it.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Newest:
    """The outcome of looking for a checkpoint to continue from.

    Attributes:
        path: The newest folder whose every file is as written; ``None`` if there is none.
        skipped: The newer ones that are torn or corrupted, newest first; to be shown to the user.
    """

    path: Path | None
    skipped: tuple[Skipped, ...]


def step_of(path: Path) -> int:
    """Return N of a folder ``step-N``."""
    match = _STEP.fullmatch(path.name)
    assert match, f"{path.name!r} is not a step-N folder"
    return int(match.group(1))


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the ``step-N`` folders in a checkpoints folder, oldest first, good or not; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()), key=step_of)


def newest_good(folder: Path) -> Newest:
    """Return the newest checkpoint whose every file verifies, and the damaged ones passed over on the way."""
    skipped = []
    for path in reversed(list_checkpoints(folder)):
        try:
            verify(path)
        except CheckpointError as error:
            skipped.append(Skipped(path, str(error)))
        else:
            return Newest(path, tuple(skipped))
    return Newest(None, tuple(skipped))


@contextmanager
def staged(folder: Path, step: int) -> Iterator[Path]:
    """Yield an empty folder to fill; on a clean exit it becomes ``folder/step-<step>``, replacing one of that name.

    Args:
        folder: The checkpoints folder, created if need be.
        step: The optimizer step.

    Raises:
        CheckpointError: The system refused a write (a full disk, no permission); the temporary folder is gone and the
            earlier checkpoints are as they were.
    """
    final = folder / f"step-{step}"
    temporary = folder / f".step-{step}.tmp-{os.getpid()}"
    try:
        _make_folder(folder)
        clean_leftovers(folder)
        temporary.mkdir()
        yield temporary
        _commit(temporary, final)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = _system_reason(error)
        if reason is None:
            raise
        raise CheckpointError(f"cannot save {final}: {reason}; earlier checkpoints are intact") from error


def _system_reason(error: BaseException) -> str | None:
    """Return what the system said, or ``None`` if the error is not a refusal of the file system."""
    if isinstance(error, FlowLMError) and isinstance(error.__cause__, OSError):
        error = error.__cause__  # the tokenizer speaks of its own files
    # safetensors writes in compiled code and reports an operating system error as text.
    if type(error).__name__ == "SafetensorError" and "I/O error" in str(error):
        full, text = bool(_FULL_TEXT.search(str(error))), str(error).splitlines()[0]
    elif isinstance(error, OSError):
        full, text = error.errno in _FULL, error.strerror or str(error)
    else:
        return None
    return "no space left on the device (or a quota is used up); free some and run again" if full else text


def _commit(temporary: Path, final: Path) -> None:
    (temporary / MANIFEST).write_bytes(render_manifest(record_files(temporary)))
    for root, _, files in os.walk(temporary, topdown=False):
        for name in files:
            _fsync(Path(root) / name)
        _fsync(Path(root))
    aside = final.with_name(f".{final.name}.old-{os.getpid()}")
    if final.exists():
        # A folder cannot be renamed over a filled one. Killed between the renames, clean_leftovers puts the old back.
        final.rename(aside)
    try:
        temporary.rename(final)
    except BaseException:
        if aside.exists() and not final.exists():
            aside.rename(final)
        raise
    _fsync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _fsync(folder.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clean_leftovers(folder: Path) -> list[Path]:
    """Remove what killed saves and removals left in ``folder``, and return what was removed.

    A temporary folder of another process that still runs is left alone. A checkpoint that had been moved aside for its
    replacement, and whose replacement never came, is put back.
    """
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _LEFTOVER.fullmatch(path.name)
        if match is None or (int(match.group(3)) != os.getpid() and _is_running(int(match.group(3)))):
            continue
        if match.group(2) == "old" and not (folder / match.group(1)).exists():
            path.rename(folder / match.group(1))
            continue
        shutil.rmtree(path, ignore_errors=True)
        removed.append(path)
    return removed


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def remove_checkpoint(path: Path) -> None:
    """Remove a ``step-N`` folder; it disappears at once, by a rename, and its files after that."""
    step_of(path)
    trash = path.with_name(f".{path.name}.trash-{os.getpid()}")
    path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def retain(folder: Path, keep_last: int, keep_steps: Collection[int] = ()) -> list[Path]:
    """Remove old checkpoints and return what was removed.

    Kept: the newest ``keep_last`` whole ones (by size; contents are not hashed again), every step in ``keep_steps``
    (the best one), and anything newer than those. A damaged folder does not count towards ``keep_last``, so that it
    never pushes a good one out.

    Args:
        folder: The checkpoints folder.
        keep_last: How many to keep, at least 1.
        keep_steps: Steps that stay whatever their age.
    """
    if keep_last < 1:
        raise CheckpointError(f"keep_last is {keep_last}; keep at least 1 checkpoint")
    clean_leftovers(folder)
    whole, removed = 0, []
    for path in reversed(list_checkpoints(folder)):
        if whole >= keep_last:
            if step_of(path) not in keep_steps:
                remove_checkpoint(path)
                removed.append(path)
            continue
        try:
            check_sizes(path)
        except CheckpointError:
            continue
        whole += 1
    return removed


def discard_newer(folder: Path, step: int) -> list[Path]:
    """Remove the checkpoints past ``step`` and return them: what a run resumed at ``step`` will write again.

    Without it a run resumed from an older checkpoint would leave the abandoned future behind as "the newest".
    """
    clean_leftovers(folder)
    newer = [path for path in list_checkpoints(folder) if step_of(path) > step]
    for path in newer:
        remove_checkpoint(path)
    return newer
