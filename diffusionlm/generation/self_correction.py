"""Rounds of correction after any sampler: resample what the network likes least, until it agrees with no more of it.

A text that a sampler has finished is the draft of a second run of the loop, in which ``any_position`` edits with the
settings of GIDD's self-correction: in each round the tokens with the largest ln p(best) − ln p(current) are drawn anew
at a low temperature, and a row ends when the share of its tokens that are the network's own first choice has not risen
for ``patience`` rounds. One rule and other settings, hence no sampler of its own. Given tokens stay; so does the first
end-of-text token with all after it, so that the text keeps its length at most.

von Rütte et al. 2025 (GIDD), https://arxiv.org/abs/2503.04482. docs/MATH.md §4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pydantic import Field

from diffusionlm.errors import PairingError
from diffusionlm.generation.canvas import Canvas
from diffusionlm.generation.loop import Frame, Observer, Sampled, sample
from diffusionlm.lazy import torch
from diffusionlm.params import Strict
from diffusionlm.process import DiscreteProcess, Process
from diffusionlm.registry import params_name
from diffusionlm.rng import key
from diffusionlm.sampling import AnyPosition, Filters, Predictor
from diffusionlm.sampling.any_position import COUNT, AnyPositionParams
from diffusionlm.sampling.filters import Temperature


class SelfCorrectionParams(Strict):
    """Rounds of correction after the sampler; the process needs noise that looks like text."""

    rounds: int = Field(default=64, ge=1, le=COUNT)
    """Rounds at most, one network evaluation each, in addition to ``steps``."""
    tokens: int = Field(default=1, ge=1, le=COUNT)
    """Tokens resampled per round."""
    temperature: Temperature = 0.1
    """Temperature of the tokens that are drawn anew."""
    margin: float = Field(default=0.0, ge=0.0)
    """Resample only where the best token's log-probability is higher than the current one's by more than this."""
    patience: int = Field(default=16, ge=1, le=COUNT)
    """Rounds without a rise of self-accuracy after which a text is left as it is."""
    latest_time: float = Field(default=0.9, gt=0.0, lt=1.0)
    """The time that the network is told: how much noise it presumes in the text. Earlier corrects more."""

    def editor(self, process: Process) -> AnyPosition:
        """Return the sampler of the rounds.

        Raises:
            PairingError: No token of this process is ever wrong.
        """
        if not isinstance(process, DiscreteProcess) or not process.has_uniform:
            raise PairingError(
                f"self_correction needs a process whose noise includes wrong tokens; process "
                f"{params_name(type(process.params))!r} has none, so its network was never taught what is wrong; leave "
                "self_correction out, or use a model trained with process uniform or mixture"
            )
        rule = AnyPositionParams(
            threshold=1.0,
            margin=self.margin,
            edits=self.tokens,
            order="gain",
            replacement="sample",
            cooldown=0,
            max_edits=self.rounds,
            latest_time=self.latest_time,
            patience=self.patience,
        )
        return AnyPosition(rule, process, Filters(temperature=self.temperature))


def self_correct(
    params: SelfCorrectionParams,
    process: Process,
    head: Callable[[Canvas], Predictor],
    canvas: Canvas,
    sampled: Sampled,
    *,
    seed: int,
    stop_id: int | None = None,
    guidance: float = 0.0,
    trace: bool = False,
    observe: Observer | None = None,
) -> Sampled:
    """Return the samples after rounds of correction; evaluations, steps and trace are those of both runs.

    Args:
        params: How.
        process: The noising process.
        head: The predictor of a batch of canvases.
        canvas: What the first run started from.
        sampled: What it made.
        seed: That of the first run.
        stop_id: As in ``sample``.
        guidance: As in ``sample``.
        trace: Record every change.
        observe: Called after every round.
    """
    draft = _draft(canvas, sampled.ids, stop_id)
    then = sample(
        head(draft),
        params.editor(process),
        draft,
        steps=params.rounds,
        seed=key(seed, "sample/self_correction"),
        guidance=guidance,
        trace=trace,
        observe=None if observe is None else _later(observe, canvas, sampled.steps),
    )
    rounds = tuple(replace(step, step=sampled.steps + step.step) for step in then.trace)
    return Sampled(
        then.ids, sampled.nfe + then.nfe, sampled.steps + then.steps, (*sampled.trace, *rounds), sampled.start
    )


def unsettled(observe: Observer, canvas: Canvas) -> Observer:
    """Return an observer of a run that a correction follows: nothing in a hole is settled yet."""
    return lambda frame: observe(replace(frame, settled=frame.settled & ~canvas.editable))


def _draft(canvas: Canvas, ids: torch.Tensor, stop_id: int | None) -> Canvas:
    """Return finished canvases as drafts; what follows a row's first generated ``stop_id`` becomes padding."""
    width = ids.shape[1]
    position = torch.arange(width, device=ids.device).expand_as(ids)
    end = torch.full((ids.shape[0], 1), width, device=ids.device)
    if stop_id is not None:
        end = torch.where(canvas.editable & (ids == stop_id), position, width).amin(1, keepdim=True)
    editable = canvas.editable & (position < end)
    return Canvas(
        ids=ids,
        editable=editable,
        segments=torch.where(position <= end, canvas.segments, 0),
        sample=canvas.sample,
        draft=editable,
        kept=canvas.editable & ~editable,
    )


def _later(observe: Observer, canvas: Canvas, steps: int) -> Observer:
    """Return an observer that counts the rounds on from the steps of the first run, and leaves out their start."""

    def show(frame: Frame) -> None:
        if frame.step >= 0:
            observe(replace(frame, step=frame.step + steps, noise=frame.noise & canvas.editable, canvas=canvas))

    return show
