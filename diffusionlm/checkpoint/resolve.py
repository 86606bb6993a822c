"""From what a user types to one checkpoint folder.

runs/first                      the newest good checkpoint of a run
runs/first@best                 the one with the best validation result
runs/first/checkpoints          the same as its run folder
runs/first/checkpoints/step-300 that one
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusionlm.checkpoint.load import load_checkpoint
from diffusionlm.checkpoint.manifest import MANIFEST, verify
from diffusionlm.checkpoint.store import Skipped, list_checkpoints, newest_good
from diffusionlm.errors import CheckpointError
from diffusionlm.paths import user_path

CHECKPOINTS = "checkpoints"
BEST = "@best"


@dataclass(frozen=True)
class Resolved:
    """The checkpoint that a name means.

    Attributes:
        path: A ``step-N`` folder whose every file verifies.
        skipped: Newer ones that were damaged and passed over; each has a one-line ``reason`` to print.
    """

    path: Path
    skipped: tuple[Skipped, ...] = ()


def resolve_checkpoint(name: str | Path) -> Resolved:
    """Return the checkpoint folder that ``name`` means.

    Args:
        name: A run folder, its ``checkpoints`` folder, either with ``@best`` after it, or a ``step-N`` folder.

    Raises:
        CheckpointError: Nothing is there, or everything that is there is damaged.
    """
    text = str(name)
    wants_best = text.endswith(BEST) and not user_path(text).exists()
    path = user_path(text.removesuffix(BEST) if wants_best else text)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise CheckpointError(f"{path} {what}; give a run folder or one of its {CHECKPOINTS}/step-N folders")
    folder = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    if not list_checkpoints(folder):
        return _single(path, wants_best)
    newest = newest_good(folder)
    if newest.path is None:
        raise CheckpointError(f"no good checkpoint in {folder}: {newest.skipped[0].reason}")
    return _best(newest.path, newest.skipped) if wants_best else Resolved(newest.path, newest.skipped)


def _single(path: Path, wants_best: bool) -> Resolved:
    if not (path / MANIFEST).exists() and not path.name.startswith("step-"):
        raise CheckpointError(f"{path} holds no checkpoint; give a run folder or one of its step-N folders")
    if wants_best:
        raise CheckpointError(f"{path} is one checkpoint; {BEST} goes after a run folder")
    verify(path)
    return Resolved(path)


def _best(newest: Path, skipped: tuple[Skipped, ...]) -> Resolved:
    best = load_checkpoint(newest).state.best
    if best is None:
        raise CheckpointError(f"{newest} records no best step (the run has not validated yet); leave out {BEST}")
    path = newest.parent / f"step-{best.step}"
    if not path.is_dir():
        raise CheckpointError(f"the best checkpoint, {path}, is gone; leave out {BEST} to use {newest.name}")
    verify(path)
    return Resolved(path, skipped)
