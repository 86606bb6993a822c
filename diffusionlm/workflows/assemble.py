"""The parts of a training run, built from its parameters or restored from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from diffusionlm.checkpoint import Best, Checkpoint, SavedConfig, SavedState, save_checkpoint
from diffusionlm.errors import CheckpointError
from diffusionlm.evaluation import ByteCounts
from diffusionlm.model.transformer import Transformer, build_model
from diffusionlm.objective import OBJECTIVES, Objective
from diffusionlm.objective.variance import with_found
from diffusionlm.optim import EMA, Optimizer, build_optimizer
from diffusionlm.params import Strict
from diffusionlm.process import PROCESSES, Process, Vocabulary
from diffusionlm.registry import params_name
from diffusionlm.training.loop import Progress
from diffusionlm.workflows.corpus import TextData
from diffusionlm.workflows.params import TrainParams
from diffusionlm.workflows.runtime import training_dtype
from diffusionlm.workflows.talk import tell_warnings


@dataclass
class Parts:
    """What a run trains with.

    Attributes:
        model: The network, on its device, never a compiled wrapper.
        parameters: Its parameters by name.
        process, objective, optimizer, ema: See their packages; ``ema`` is None without an average.
        progress: Where the run stands.
        cursor: Where the data stands; None = at the beginning.
        best: The best validation result so far.
    """

    model: Transformer
    parameters: dict[str, torch.nn.Parameter]
    process: Process
    objective: Objective
    optimizer: Optimizer
    ema: EMA | None
    progress: Progress
    cursor: dict[str, int] | None
    best: Best | None


def build_parts(params: TrainParams, vocabulary_size: int, device: torch.device) -> Parts:
    """Return fresh parts, a function of the parameters alone."""
    mask_id = params.process.mask_id if "mask_id" in type(params.process).model_fields else None
    vocabulary = Vocabulary.after(vocabulary_size, mask_id)
    with tell_warnings():
        process = PROCESSES.build(params.process, vocabulary)
    model = build_model(params.model, vocabulary, params.run.seed).to(device)
    model.compute_dtype = training_dtype(params.training.precision, device)
    model.gradient_checkpointing = params.training.gradient_checkpointing
    objective = OBJECTIVES.build(params.objective, process)
    model.kind = objective.network_head
    parameters = dict(model.named_parameters())
    return Parts(
        model=model,
        parameters=parameters,
        process=process,
        objective=objective,
        optimizer=build_optimizer(params.optimizer, parameters, model.parameter_roles()),
        ema=EMA(params.training.ema, parameters) if params.training.ema.decay > 0 else None,
        progress=Progress(),
        cursor=None,
        best=None,
    )


def check_resumable(checkpoint: Checkpoint, params: TrainParams) -> None:
    """Refuse to go on from a checkpoint with other parameters, before any text is read.

    Methods come before what follows from them: another process may have changed whether the model is told the time.

    Raises:
        CheckpointError: The run that it belongs to differs in something that cannot change between sessions.
    """
    _check_same("process", checkpoint.process.model_dump(mode="json"), params.process, checkpoint.path)
    _check_same("objective", checkpoint.objective, params.objective, checkpoint.path)
    _check_same("model", checkpoint.model.model_dump(mode="json"), params.model, checkpoint.path)
    if params.training.ema.decay > 0 and not checkpoint.has_ema:
        raise CheckpointError(f"{checkpoint.path} holds no averaged weights; set training.ema.decay = 0 to resume it")
    _check_identity(checkpoint, _identity(params))


def restore(parts: Parts, checkpoint: Checkpoint, text_fingerprint: str) -> None:
    """Put the state of a checkpoint into fresh parts.

    Raises:
        CheckpointError: It was trained on another text.
    """
    _check_identity(checkpoint, {"text": text_fingerprint})
    device = str(next(iter(parts.parameters.values())).device)
    parts.model.load_state_dict(checkpoint.weights("model", device))
    parts.optimizer.load_state_tensors(checkpoint.optimizer(device))
    parts.optimizer.load_state_scalars(checkpoint.state.optimizer)
    if parts.ema is not None:
        parts.ema.load_state_tensors(checkpoint.ema(device))
    counters: dict[str, Any] = dict(checkpoint.state.counters)
    parts.progress = Progress(**{f.name: counters[f.name] for f in fields(Progress) if f.name in counters})
    if parts.progress.times is not None:
        parts.objective.times = with_found(parts.objective.times, parts.progress.times)
    parts.cursor, parts.best = dict(checkpoint.state.cursor), checkpoint.state.best


def _identity(params: TrainParams) -> dict[str, Any]:
    """Return what must stay the same for the data order, the noise and the optimizer's state to go on exactly."""
    # Only where there is one: checkpoints from before mixtures go on as they were.
    mixture = [part.model_dump(mode="json") for part in params.data.mixture]
    return {
        **({"data.mixture": mixture} if mixture else {}),
        "run.seed": params.run.seed,
        "data.packing": params.data.packing,
        "data.eos_padding_cap": params.data.eos_padding_cap,
        "data.shuffle_buffer": params.data.shuffle_buffer,
        "training.batch_size": params.training.batch_size,
        "optimizer.name": params_name(type(params.optimizer)),
    }


def _check_identity(checkpoint: Checkpoint, wanted: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that was not trained with exactly the wanted values."""
    saved = dict(checkpoint.data)
    for name, value in wanted.items():
        if name not in saved:
            raise CheckpointError(
                f"{checkpoint.path} does not say which {name} it was trained with (an older version wrote it), so "
                "nothing can go on from it exactly; start a new run under another run.name"
            )
        if saved[name] != value:
            raise CheckpointError(
                f"{checkpoint.path} was trained with {name} = {saved[name]}, now it is {value}; "
                "a run resumes only with the same; start a new run under another run.name"
            )


def _check_same(section: str, saved: Mapping[str, Any], wanted: Strict, path: Path) -> None:
    new = wanted.model_dump(mode="json")
    for name in sorted(new, key=lambda name: name != "name"):  # the method's name before what belongs to it
        old = {name: "unset", **saved}[name]
        if old != new[name]:
            raise CheckpointError(
                f"{path} was trained with {section}.{name} = {old}, now it is {new[name]}; "
                "a run resumes only with the same; start a new run under another run.name"
            )


def save_parts(
    folder: Path,
    parts: Parts,
    params: TrainParams,
    text: TextData,
    byte_counts: ByteCounts,
    provenance: dict[str, str | int | float | None],
) -> Path:
    """Write a checkpoint of everything and return its folder."""
    progress = {f.name: vars(parts.progress)[f.name] for f in fields(Progress)}
    return save_checkpoint(
        folder,
        state=SavedState(
            step=parts.progress.step,
            seed=params.run.seed,
            cursor=dict(parts.cursor or text.loader.first_cursor),
            counters={name: value for name, value in progress.items() if value is not None},
            optimizer=parts.optimizer.state_scalars(),
            best=parts.best,
            provenance=provenance,
        ),
        config=SavedConfig(
            model=params.model,
            process=params.process,
            objective=params.objective,
            vocabulary=parts.process.vocabulary,
            data={
                **_identity(params),
                "text": text.fingerprint,
                "context_length": params.model.context_length,
                "params": params.data.model_dump(mode="json", exclude_none=True),
            },
        ),
        tokenizer=text.tokenizer,
        model=parts.model.state_dict(),
        optimizer=parts.optimizer.state_tensors(),
        ema=None if parts.ema is None else parts.ema.state_tensors(),
        byte_counts=byte_counts.tensors(),
    )
