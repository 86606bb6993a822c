"""From a comparison to the runs that it consists of: trials of the learning rate, then a run for every seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusionlm.errors import ConfigError
from diffusionlm.model.params import TransformerParams
from diffusionlm.workflows.params import CompareParams, TrainParams


@dataclass(frozen=True)
class Planned:
    """One training run of a comparison.

    Attributes:
        method: Its method's name.
        kind: A trial of a learning rate, or a run that counts.
        seed: Its seed.
        factor: What the method's learning rates are multiplied by.
        folder: Its run folder.
        params: What ``flowlm train`` is asked to do.
    """

    method: str
    kind: Literal["trial", "run"]
    seed: int
    factor: float
    folder: Path
    params: TrainParams

    @property
    def words(self) -> str:
        """How it is called on stderr."""
        return f"{self.method}, " + (
            f"learning rate × {self.factor:g}" if self.kind == "trial" else f"seed {self.seed}"
        )


class Planner:
    """Makes the runs of a comparison.

    Args:
        params: The comparison.
        tokenizer: The table of the tokenizer that all runs read, trained once.
    """

    def __init__(self, params: CompareParams, tokenizer: Mapping[str, Any]) -> None:
        self.params, self.folder = params, params.output_folder()
        self.tokenizer = dict(tokenizer)
        self.costs: dict[str, float] = {}
        """FLOPs per token of each method at the full width; set before runs are planned."""

    def trials(self, method: str) -> list[Planned]:
        """Return the trials of a method's learning rate; none where there is nothing to choose."""
        sweep = self.params.sweep
        if len(sweep.factors) == 1:
            return []
        return [
            self._planned(method, "trial", sweep.seed, factor, f"trials/{method}/lr-x{factor:g}")
            for factor in sweep.factors
        ]

    def runs(self, method: str, factor: float) -> list[Planned]:
        """Return the runs that count, one for each seed."""
        return [self._planned(method, "run", seed, factor, f"runs/{method}/seed-{seed}") for seed in self.params.seeds]

    def full(self, method: str) -> TrainParams:
        """Return a run of a method as it is, to measure its cost."""
        return self.params.run_of(method, {"tokenizer": self.tokenizer})

    def _planned(self, method: str, kind: Literal["trial", "run"], seed: int, factor: float, place: str) -> Planned:
        params, folder = self.params, self.folder / place
        narrow = kind == "trial" and params.sweep.width is not None
        share = params.sweep.share if kind == "trial" else 1.0
        more = {
            "tokenizer": self.tokenizer,
            "training": self._budget(method, share),
            "optimizer": self._optimizer(method, factor),
            "run": {"name": f"{params.name}/{place}".replace("/", "-"), "folder": str(folder), "seed": seed},
            "checkpoints": {"keep": 1, "best": False},
            "log": {"outputs": []},
            **({"model": narrowed(params.model, params.sweep.width or 0)} if narrow else {}),
        }
        planned = params.run_of(method, more)
        resumed = planned.run.model_copy(update={"resume": "auto"})
        return Planned(method, kind, seed, factor, folder, planned.model_copy(update={"run": resumed}))

    def _budget(self, method: str, share: float) -> dict[str, Any]:
        """Return the ``[training]`` keys of a share of the budget; in steps where that is exact."""
        budget, training = self.params.budget, self.params.training
        if budget.minutes is not None:
            return {"steps": None, "minutes": budget.minutes * share}
        tokens = budget.tokens or (budget.flops or 0.0) / self.costs[method]
        if self.params.data.packing != "packed":
            return {"steps": None, "tokens": max(1, round(tokens * share))}
        # Packed rows are full: tokens and steps say the same, and in steps a resumed run is exact.
        per_step = training.batch_size * self.params.model.context_length
        return {"steps": max(1, math.ceil(tokens * share / per_step))}

    def _optimizer(self, method: str, factor: float) -> dict[str, Any]:
        """Return a method's ``[optimizer]`` with all of its learning rates multiplied."""
        optimizer = self.params.methods[method].optimizer
        table = optimizer.model_dump(mode="json", exclude_none=True)
        scaled = {key: value * factor for key, value in table.items() if key == "lr" or key.endswith("_lr")}
        if self.params.sweep.width is not None and len(self.params.sweep.factors) > 1:
            if "base_width" not in type(optimizer).model_fields:
                raise ConfigError(
                    f"sweep.width: optimizer {optimizer.name!r} of method {method!r} has no rule that carries learning "
                    "rates over between widths (base_width); leave sweep.width unset"
                )
            scaled["base_width"] = optimizer.base_width or self.params.sweep.width
        return {**table, **scaled}


def narrowed(model: TransformerParams, width: int) -> dict[str, Any]:
    """Return the keys of a narrower network: fewer heads of the same width, as µP asks.

    Raises:
        ConfigError: The width is no multiple of the heads' width, or not narrower.
    """
    head = model.resolved_head_width
    if width % head or width > model.width:
        raise ConfigError(
            f"sweep.width = {width} must be a multiple of the heads' width {head} and at most model.width = "
            f"{model.width}"
        )
    heads = width // head
    kv_heads = max(1, heads * model.resolved_kv_heads // model.heads)
    keys = {"width": width, "heads": heads, "head_width": head}
    keys |= {"kv_heads": kv_heads if heads % kv_heads == 0 else 1} if model.kv_heads is not None else {}
    return keys | ({"hidden": max(1, model.hidden * width // model.width)} if model.hidden is not None else {})
