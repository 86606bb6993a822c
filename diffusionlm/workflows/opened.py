"""A trained model, opened from its checkpoint folder: what infer, infill, eval and the Python interface start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffusionlm.checkpoint import Checkpoint, load_checkpoint, load_model, resolve_checkpoint
from diffusionlm.model.transformer import Transformer
from diffusionlm.objective import network_head, trained_process
from diffusionlm.process import Process
from diffusionlm.tokenizer import Tokenizer
from diffusionlm.workflows.command import AnyObjective
from diffusionlm.workflows.runtime import choose_device, network_dtype, set_threads
from diffusionlm.workflows.talk import say, tell_warnings
from diffusionlm.workflows.use_params import CheckpointParams


@dataclass(frozen=True)
class Opened:
    """A checkpoint with everything that was built from it.

    Attributes:
        checkpoint: The folder and its parameters.
        model: The network, in evaluation mode, on ``device``.
        tokenizer, process: The ones that it was trained with, or the process that it is read as.
        device: Where it computes.
    """

    checkpoint: Checkpoint
    model: Transformer
    tokenizer: Tokenizer
    process: Process
    device: torch.device


def open_checkpoint(params: CheckpointParams) -> Opened:
    """Open the checkpoint that a command names, telling on stderr which damaged ones were passed over.

    Raises:
        CheckpointError: There is no good one.
        ConfigError: The device or its arithmetic is not available, or the network cannot be read as the process that
            is named.
    """
    device = choose_device(params.device)
    dtype = network_dtype(params.precision, device)
    set_threads(params.threads)
    resolved = resolve_checkpoint(params.checkpoint)
    for skipped in resolved.skipped:
        say(f"passed over: {skipped.reason}")
    checkpoint = load_checkpoint(resolved.path)
    model = load_model(checkpoint, device=str(device), weights=params.weights)
    model.compute_dtype = dtype
    with tell_warnings():
        process = checkpoint.build_process()
    objective = checkpoint.objective_params(AnyObjective)
    if params.read_as is not None:
        process, own = trained_process(objective, process, params.read_as), process
        objective = objective if process is own else None
    model.kind = network_head(objective, process)
    return Opened(checkpoint, model, checkpoint.tokenizer(), process, device)
