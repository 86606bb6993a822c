"""Checkpoints: self-describing folders, written whole or not at all, verified on load, free of pickle."""

from diffusionlm.checkpoint.contents import Best, SavedConfig, SavedState, save_checkpoint
from diffusionlm.checkpoint.load import Checkpoint, Weights, load_checkpoint, load_model
from diffusionlm.checkpoint.manifest import FORMAT_VERSION, verify
from diffusionlm.checkpoint.resolve import Resolved, resolve_checkpoint
from diffusionlm.checkpoint.store import (
    Newest,
    Skipped,
    clean_leftovers,
    discard_newer,
    list_checkpoints,
    newest_good,
    retain,
)

__all__ = [
    "FORMAT_VERSION",
    "Best",
    "Checkpoint",
    "Newest",
    "Resolved",
    "SavedConfig",
    "SavedState",
    "Skipped",
    "Weights",
    "clean_leftovers",
    "discard_newer",
    "list_checkpoints",
    "load_checkpoint",
    "load_model",
    "newest_good",
    "resolve_checkpoint",
    "retain",
    "save_checkpoint",
    "verify",
]
