"""What ``flowlm train`` hands back: where the run is, how it ended, and its final scores."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from diffusionlm.evaluation import BaselineReport, LikelihoodReport, SourceReport
from diffusionlm.training.loop import Outcome
from diffusionlm.workflows.held_out import FinalScores


@dataclass(frozen=True)
class TrainReport:
    """How a run ended.

    Attributes:
        folder: The run folder.
        checkpoint: Its last checkpoint.
        outcome: Why the loop ended, and at which step.
        scores: The final held-out scores; None if validation is skipped, the process has no bound, or the run was
            stopped, or interrupted before it had them.
    """

    folder: Path
    checkpoint: Path
    outcome: Outcome
    scores: FinalScores | None

    @property
    def likelihood(self) -> LikelihoodReport | None:
        """The bound on the held-out text, where there are scores."""
        return None if self.scores is None else self.scores.likelihood

    @property
    def baselines(self) -> BaselineReport | None:
        """What models without a network need for it, where there are scores."""
        return None if self.scores is None else self.scores.baselines

    @property
    def sources(self) -> tuple[SourceReport, ...]:
        """Of a mixture the bound on each source, where there are scores."""
        return () if self.scores is None else self.scores.sources

    def report(self) -> str:
        """Return the product of the command: the path of the last checkpoint."""
        return str(self.checkpoint)

    @property
    def exit_code(self) -> int:
        """0 for a finished run; 128 + the signal's number for one that a signal stopped, as shells have it."""
        return 0 if self.outcome.reason == "finished" else 128 + int(signal.Signals[self.outcome.reason])
