"""What ``flowlm train`` hands back: where the run is, how it ended, and its final scores."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from diffusionlm.evaluation import BaselineReport, LikelihoodReport
from diffusionlm.training.loop import Outcome


@dataclass(frozen=True)
class TrainReport:
    """How a run ended.

    Attributes:
        folder: The run folder.
        checkpoint: Its last checkpoint.
        outcome: Why the loop ended, and at which step.
        likelihood, baselines: The final held-out scores; None if validation is skipped or the run was stopped, or
            interrupted before it had them.
    """

    folder: Path
    checkpoint: Path
    outcome: Outcome
    likelihood: LikelihoodReport | None
    baselines: BaselineReport | None

    def report(self) -> str:
        """Return the product of the command: the path of the last checkpoint."""
        return str(self.checkpoint)

    @property
    def exit_code(self) -> int:
        """0 for a finished run; 128 + the signal's number for one that a signal stopped, as shells have it."""
        return 0 if self.outcome.reason == "finished" else 128 + int(signal.Signals[self.outcome.reason])
