"""One run at a time in a run folder: a lock on the folder itself, which leaves no file and ends with the process.

Two runs that write to one folder would mix their metrics and remove each other's checkpoints: a command that was typed
twice, or a job that a scheduler started again while the first one still saves.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from diffusionlm.errors import ConfigError
from diffusionlm.workflows.run_folder import folder_errors


class RunLock:
    """Keeps other runs out of a folder. Use as a context manager; where the folder is new, ``make`` it when ready.

    A file system without such locks (some network ones) gives no protection and no error.

    Args:
        folder: The run folder; it need not exist.

    Raises:
        ConfigError: Another run has it, or it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        if self.folder.is_dir():
            self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def make(self) -> None:
        """Make the folder and lock it, unless it was there and is locked already.

        Raises:
            ConfigError: Another run has made it in the meantime, or it cannot be made.
        """
        if self._descriptor is not None:
            return
        with folder_errors(self.folder):
            try:
                self.folder.mkdir(parents=True)
            except FileExistsError:
                raise self._taken() from None
        self._take()

    def _take(self) -> None:
        with folder_errors(self.folder):
            self._descriptor = lock_folder(self.folder)
        if self._descriptor is None:
            raise self._taken()

    def _taken(self) -> ConfigError:
        return ConfigError(
            f"run folder {self.folder} is in use by another run; wait for its end, or choose another run.name"
        )


def lock_folder(folder: Path) -> int | None:
    """Return a descriptor that keeps others out of a folder until it is closed; None if another one has it.

    Raises:
        OSError: The folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass  # the file system has no such locks
    return descriptor
