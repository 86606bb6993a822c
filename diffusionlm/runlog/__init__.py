"""The record of a run: JSON lines always, other outputs by choice, norms and profiler marks when asked for.

Only rank zero writes, and nothing here makes the device wait except ``norms.fetch``, once for each logged step.
"""

from __future__ import annotations

from diffusionlm.runlog.jsonl import read_jsonl
from diffusionlm.runlog.log import METRICS_FILE, SAMPLES_FILE, NullRunLog, RunLog, RunLogParams, open_run_log
from diffusionlm.runlog.memory import MemoryHistory
from diffusionlm.runlog.norms import ActivationNorms, NormProbe, blocks_of, fetch, gradient_norms, weight_norms
from diffusionlm.runlog.nvtx import NULL_RANGE, Nvtx
from diffusionlm.runlog.outputs import (
    LOGGERS,
    Console,
    ConsoleParams,
    Output,
    RunContext,
    TensorBoard,
    TensorBoardParams,
    Wandb,
    WandbParams,
)
from diffusionlm.runlog.provenance import collect_provenance

__all__ = [
    "LOGGERS",
    "METRICS_FILE",
    "NULL_RANGE",
    "SAMPLES_FILE",
    "ActivationNorms",
    "Console",
    "ConsoleParams",
    "MemoryHistory",
    "NormProbe",
    "NullRunLog",
    "Nvtx",
    "Output",
    "RunContext",
    "RunLog",
    "RunLogParams",
    "TensorBoard",
    "TensorBoardParams",
    "Wandb",
    "WandbParams",
    "blocks_of",
    "collect_provenance",
    "fetch",
    "gradient_norms",
    "open_run_log",
    "read_jsonl",
    "weight_norms",
]
