"""The output folder of a command that can go on where it was cut off: whose it is, and what an early end leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffusionlm.data.make import claim_empty
from diffusionlm.data.shards import is_temporary
from diffusionlm.errors import DataError
from diffusionlm.workflows.run_folder import check_writable
from diffusionlm.workflows.run_lock import lock_folder
from diffusionlm.workflows.talk import say


@dataclass(frozen=True)
class Begun:
    """What a folder holds that an earlier run of the command made.

    Attributes:
        what: "unfinished shards".
        done: Whether nothing is left to do.
    """

    what: str
    done: bool


@dataclass(frozen=True)
class Left:
    """What a run that ended early leaves.

    Attributes:
        words: "2 finished shards are kept".
        kept: Whether that is worth going on from.
    """

    words: str
    kept: bool


@contextmanager
def claimed(
    output: Path, resume: str | None, begun: Callable[[], Begun | None], leave: Callable[[bool], Left]
) -> Iterator[None]:
    """Keep an output folder for this run; if nothing comes of it, leave it as it was.

    Args:
        output: The folder.
        resume: Whether to go on with what it holds.
        begun: Says what that is.
        leave: Called when the run ends early, with whether the folder was there before: removes what is not kept.

    Raises:
        DataError: The folder holds something that is not to go on, is in use, or cannot be written any more.
    """
    existed = output.is_dir()
    check_writable(output)
    if not (resume and existed and (begun() is not None or _only_temporaries(output))):
        _refuse_made(output, begun())
        claim_empty(output)
    descriptor = lock_folder(output)
    if descriptor is None:
        raise DataError(f"output folder {str(output)!r} is in use by another run; wait for its end, or choose another")
    try:
        yield
    except BaseException as error:
        left = leave(existed)
        if isinstance(error, OSError):
            reason = "no space left on the device" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            advice = "the same command with --resume auto goes on" if left.kept else "run the same command again"
            line = f"cannot write to {str(output)!r}: {reason}; {left.words}: mend that, and {advice}"
            raise DataError(line) from error
        if isinstance(error, KeyboardInterrupt) and left.kept:
            say(f"{left.words}; to go on: the same command with --resume auto")
        raise
    finally:
        os.close(descriptor)


def _only_temporaries(output: Path) -> bool:
    """Return whether a folder holds no more than what a process leaves that is killed while it begins."""
    inside = (path.relative_to(output) for path in output.rglob("*") if not path.is_dir())
    return all(any(is_temporary(Path(part)) for part in path.parts) for path in inside)


def _refuse_made(output: Path, begun: Begun | None) -> None:
    """Refuse, with the advice that fits, to write where the command has written."""
    if begun is not None:
        advice = "" if begun.done else "add --resume auto to go on, "
        raise DataError(
            f"output folder {str(output)!r} is not empty: it holds {begun.what}; {advice}choose another one, or "
            "remove it"
        )
