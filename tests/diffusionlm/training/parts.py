"""A small training set-up for tests: network, objective, optimizer and an endless stream of one batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.model.transformer import Transformer
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import EMA, EMAParams, build_optimizer
from diffusionlm.optim.adamw import AdamWParams
from diffusionlm.process import ArProcess, MaskProcess
from diffusionlm.process.ar import ArParams
from diffusionlm.process.mask import MaskParams
from diffusionlm.runlog import RunLog, RunLogParams, open_run_log
from diffusionlm.training.step import TrainStep
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents

BATCH = lay_rows([[document] for document in random_documents([9, 12, 5, 7], K)], 12)


def make_step(
    model: Transformer | None = None,
    objective: str = "nelbo",
    ema: bool = True,
    rank: int = 0,
    world: int = 1,
    device: str = "cpu",
) -> TrainStep:
    """Return one optimizer step over a small float64 network."""
    model = (network().train() if model is None else model).to(device)
    parameters = dict(model.named_parameters())
    mask = issubclass(MaskProcess, OBJECTIVES[objective].requires)
    process = MaskProcess(MaskParams(), VOCABULARY) if mask else ArProcess(ArParams(), VOCABULARY)
    return TrainStep(
        model,
        parameters,
        OBJECTIVES.build(OBJECTIVES[objective].Params(), process),
        build_optimizer(AdamWParams(), parameters, model.parameter_roles()),
        EMA(EMAParams(decay=0.9), parameters) if ema else None,
        clip_norm=1.0,
        seed=0,
        device=torch.device(device),
        rank=rank,
        world=world,
    )


def weights(step: TrainStep) -> dict[str, torch.Tensor]:
    """Return copies of the weights."""
    return {name: parameter.detach().clone() for name, parameter in step.parameters.items()}


class Endless:
    """The same micro-batches for ever, with a cursor that counts them."""

    def __init__(self, batches: list[Batch] | None = None) -> None:
        self.batches = [BATCH] if batches is None else batches
        self.cursor, self.waited_s = {"row": 0}, 0.0

    def __next__(self) -> list[Batch]:
        self.cursor = {"row": self.cursor["row"] + sum(len(batch) for batch in self.batches)}
        return self.batches

    def __iter__(self) -> Iterator[list[Batch]]:
        return self


def make_log(folder: Path, every: int = 1) -> RunLog:
    """Return a log that writes JSON lines alone."""
    return open_run_log(RunLogParams(outputs=(), log_every=every), folder)
