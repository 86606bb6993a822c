"""Where the run log goes besides its JSON lines. A new output is one file with a ``Params`` and an import line here."""

from __future__ import annotations

from diffusionlm.registry import Registry
from diffusionlm.runlog.outputs.base import Output, RunContext
from diffusionlm.runlog.outputs.console import Console, ConsoleParams
from diffusionlm.runlog.outputs.tensorboard import TensorBoard, TensorBoardParams
from diffusionlm.runlog.outputs.wandb import Wandb, WandbParams

LOGGERS: Registry[Output] = Registry("log output", Output, globals())

__all__ = [
    "LOGGERS",
    "Console",
    "ConsoleParams",
    "Output",
    "RunContext",
    "TensorBoard",
    "TensorBoardParams",
    "Wandb",
    "WandbParams",
]
