"""The training loss itself on held-out text, with the same noise for every model: what there is where no bound exists.

It is a number under its own name. Losses of different objectives, or of processes that hide different things, do not
compare with one another, and none of them is a likelihood.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from diffusionlm.data.batch import Batch
from diffusionlm.device import arithmetic_device
from diffusionlm.objective import Objective
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.rng import key

if TYPE_CHECKING:
    from diffusionlm.model.transformer import Transformer


def objective_loss(
    model: Transformer, objective: Objective, batches: Iterable[Batch], *, draws: int, seed: int, device: torch.device
) -> float:
    """Return the loss in nats per token that its denominator counts, averaged over draws of the noise.

    Args:
        model: On ``device``; in evaluation mode meanwhile.
        objective: Over the model's process.
        batches: Held-out rows.
        draws: Noise draws per row.
        seed: Of the noise, a stream apart from training's.
        device: Where the model is; the batches go to where its arithmetic happens.
    """
    total, count, training, place = 0.0, 0, model.training, arithmetic_device(device)
    model.eval()
    try:
        with torch.no_grad():
            for number, batch in enumerate(batches):
                for draw in range(draws):
                    rows = torch.arange(len(batch))
                    prepared = prepare(
                        objective, batch.to(place), key(seed, "held-out"), number * draws + draw, rows, len(batch)
                    )
                    total += float(loss_sum(model, prepared).total)
                    count += int(prepared.denominator)
    finally:
        model.train(training)
    return total / max(count, 1)
