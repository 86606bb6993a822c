"""One optimizer step: corrupt every micro-batch, count, accumulate gradients, clip, update, average.

The divisor of the loss is counted over all micro-batches before the first backward pass, so the gradient does not
depend on how the step is split. Every random draw is a function of (seed, step, document, window, position); torch's
own generator, which only dropout uses, is seeded anew for each micro-batch. A step therefore needs no random state.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.device import arithmetic_device
from diffusionlm.objective.base import Objective
from diffusionlm.objective.engine import Network, Prepared, loss_sum, prepare
from diffusionlm.optim import EMA, GradientNorm, Optimizer, clip_gradients
from diffusionlm.rng import key, seed_torch
from diffusionlm.runlog import NormProbe, Nvtx
from diffusionlm.training.levels import LevelLoss


@dataclass(frozen=True)
class StepResult:
    """What a step did, still on its device.

    Attributes:
        loss: 0-dim, the step's loss in nats per the objective's denominator.
        gradient: Norm before clipping, and whether it was finite.
        tokens: Editable tokens of the step, counted on the host.
        applied: Whether the gradient was finite; if not, weights, optimizer and average are as they were.
        norms: Layer norms, if this step measures them.
    """

    loss: torch.Tensor
    gradient: GradientNorm
    tokens: int
    applied: bool
    norms: dict[str, torch.Tensor]


class TrainStep:
    """The parts of a step, held together.

    Args:
        model: The network, perhaps compiled.
        parameters: Its parameters by canonical name.
        objective: What is minimised.
        optimizer: How the weights move.
        ema: Their average, if the run keeps one.
        clip_norm: Largest gradient norm; None = only guard against non-finite ones.
        seed: The run's seed.
        device: Where the model is.
        rank, world: Which of how many equal parts of each step's rows this process has.
        nvtx: Profiler marks; they cost nothing when off.
    """

    def __init__(
        self,
        model: Network,
        parameters: dict[str, torch.nn.Parameter],
        objective: Objective,
        optimizer: Optimizer,
        ema: EMA | None,
        *,
        clip_norm: float | None,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        nvtx: Nvtx | None = None,
    ) -> None:
        self.model, self.parameters, self.objective = model, parameters, objective
        self.optimizer, self.ema = optimizer, ema
        self.clip_norm, self.rank, self.world = clip_norm, rank, world
        self.device = arithmetic_device(device)  # of batches, noise and losses
        self.seed = seed
        self.noise_seed = key(seed, "training")
        self.nvtx = nvtx if nvtx is not None else Nvtx(False)
        self.levels = LevelLoss(objective.process, self.device)

    def __call__(
        self, batches: Sequence[Batch], step: int, lr_multiplier: float, probe: NormProbe | None = None
    ) -> StepResult:
        """Make optimizer update number ``step`` (from 0) from this rank's micro-batches."""
        tokens = sum(int(batch.editable.sum()) for batch in batches)
        with self._mark("corrupt"):
            prepared = self._prepare(batches, step)
            denominator = torch.stack([part.denominator for part in prepared]).sum().clamp_min(1)
        if probe is not None:
            probe.begin()
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for index, part in enumerate(prepared):
            seed_torch(self.seed, "dropout", step, index, self.rank)
            with self._mark("forward"):
                made = loss_sum(self.model, part)
            with self._mark("backward"):
                (made.total / denominator).backward()
            loss += made.total.detach()
            self.levels.add(part, made)
        norms = {} if probe is None else probe.end()
        with self._mark("optimizer"):
            gradient = clip_gradients(self.parameters.values(), self.clip_norm)
            # The host waits for this flag, as it does for the number of scored rows. Zeroed gradients alone would not
            # do: momentum and weight decay move the weights without any.
            applied = bool(gradient.finite)
            if applied:
                self.optimizer.step(lr_multiplier)
                if self.ema is not None:
                    self.ema.update(self.parameters, step)
            self.optimizer.zero_grad()
        return StepResult(loss / denominator, gradient, tokens, applied, norms)

    def _prepare(self, batches: Sequence[Batch], step: int) -> list[Prepared]:
        local = sum(len(batch) for batch in batches)
        first, prepared = self.rank * local, []
        for batch in batches:
            rows = torch.arange(first, first + len(batch))
            on_device = batch.to(self.device, non_blocking=True)
            prepared.append(prepare(self.objective, on_device, self.noise_seed, step, rows, local * self.world))
            first += len(batch)
        return prepared

    def _mark(self, name: str) -> AbstractContextManager[Any]:
        return self.nvtx.range(name)
