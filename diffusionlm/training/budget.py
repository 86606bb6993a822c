"""How long a run is: steps, tokens or minutes, whichever is used up first.

The learning-rate schedule needs the run's length in steps. With a budget in steps it is known, and resuming is exact.
Where time or tokens run out sooner it is extrapolated from what has been used, so that the decay still completes.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusionlm.training.params import TrainingParams

FIRST_GUESS = 1000
"""Length in steps that a schedule assumes before a budget in minutes has seen any step."""


@dataclass(frozen=True)
class Used:
    """What a run has used so far: optimizer steps, editable tokens, seconds of training."""

    steps: int
    tokens: int
    seconds: float


def progress(params: TrainingParams, used: Used) -> float:
    """Return the share of the budget that is used up; the run ends at 1."""
    shares = [0.0]
    if params.steps is not None:
        shares.append(used.steps / params.steps)
    if params.tokens is not None:
        shares.append(used.tokens / params.tokens)
    if params.minutes is not None:
        shares.append(used.seconds / (60.0 * params.minutes))
    return max(shares)


def expected_steps(params: TrainingParams, used: Used, tokens_per_step: int) -> int:
    """Return the run's length in steps, known or extrapolated, at least one more than the steps used.

    Args:
        params: The budget.
        used: What has been used.
        tokens_per_step: Upper bound of the tokens of a step, for a token budget that has not begun.
    """
    share = progress(params, used)
    if params.steps is not None and share <= used.steps / params.steps:
        return params.steps
    if used.steps > 0 and share > 0.0:
        return max(used.steps + 1, round(used.steps / share))
    if params.tokens is not None:
        return max(1, -(-params.tokens // tokens_per_step))
    return FIRST_GUESS if params.steps is None else params.steps
