"""The sampling loop: the only one, for continuation and infilling, with and without blocks, under every sampler.

A step asks the sampler where it needs the network, calls the network there (or not at all), lets the sampler move the
canvases, and puts back whatever it had no right to change. A row leaves the loop when its blocks are finished or when
nothing before its end-of-text token can change any more. All random numbers are functions of (seed, step, sample,
position), and nothing in a row's course depends on another row, so that a sample is the same alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from diffusionlm.generation.blocks import Blocks
from diffusionlm.generation.canvas import Canvas
from diffusionlm.lazy import torch
from diffusionlm.process import Process
from diffusionlm.process.head import Head
from diffusionlm.rng import Draws
from diffusionlm.sampling import Plan, Predictor, Sampler, State, TraceStep
from diffusionlm.sampling.guidance import GuidedPredictor
from diffusionlm.sampling.predictor import turned


@dataclass(frozen=True)
class Frame:
    """The canvases after a step (before the first: ``step`` −1), for whoever watches.

    Attributes:
        step: The step of the loop, from 0.
        z: (B, T) int64 tokens.
        noise: (B, T) bool, positions that certainly hold noise (the mask token).
        changed: (B, T) bool, positions that this step changed.
        settled: (B, T) bool, positions that can no longer change, given ones included.
        canvas: What the run started from.
    """

    step: int
    z: torch.Tensor
    noise: torch.Tensor
    changed: torch.Tensor
    settled: torch.Tensor
    canvas: Canvas


Observer = Callable[[Frame], None]


@dataclass(frozen=True)
class Sampled:
    """Finished canvases.

    Attributes:
        ids: (B, T) int64. Where ``stop_id`` ended a row early, noise may remain after that token.
        nfe: (B,) int64, network evaluations that each row took part in; under guidance both passes count.
        steps: Steps of the loop.
        trace: Every change of every step, if asked for.
        start: (B, T) int64, the canvases before the first step.
    """

    ids: torch.Tensor
    nfe: torch.Tensor
    steps: int
    trace: tuple[TraceStep, ...]
    start: torch.Tensor


def sample(
    predictor: Predictor,
    sampler: Sampler,
    canvas: Canvas,
    *,
    steps: int,
    seed: int,
    block_length: int | None = None,
    stop_id: int | None = None,
    guidance: float = 0.0,
    trace: bool = False,
    observe: Observer | None = None,
) -> Sampled:
    """Fill the holes of a batch of canvases.

    Args:
        predictor: The head.
        sampler: The rule; it knows the process.
        canvas: (B, T) given tokens and holes.
        steps: Steps of a whole row; the most network evaluations it takes.
        seed: Names the random streams, together with each row's sample index.
        block_length: Editable tokens per semi-autoregressive block; None = all at once, or the process's own blocks.
        stop_id: A token after which a row's text is of no interest (end-of-text, when continuing a prompt).
        guidance: w of classifier-free guidance; 0 = none.
        trace: Record every change.
        observe: Called with the start and after every step.

    Raises:
        ConfigError: Fewer steps than blocks, or a block length beside a process with blocks of its own.
        PairingError: The sampler cannot use this kind of head, or start from a draft; or the process cannot be guided.
        DivergedError: An answer of the network is not a number.
    """
    process, wanted = sampler.process, sampler.wanted_head(predictor.kind)
    predictor, passes = _guided(predictor, process, canvas, guidance)
    blocks = Blocks.of(canvas.editable, block_length, steps, process.blocks(canvas.positions()))
    z = start = _start(sampler, canvas, _draws(canvas, seed, 0))
    block, step = torch.zeros_like(blocks.number), torch.zeros_like(blocks.number)
    nfe, t = torch.zeros_like(blocks.number), torch.zeros_like(blocks.number, dtype=torch.float64)
    stopped = torch.zeros_like(blocks.number, dtype=torch.bool)
    memory, changes = sampler.start(z, canvas.editable), []
    nothing = torch.empty((0, process.vocabulary.size), dtype=torch.float64, device=z.device)
    if observe is not None:
        observe(_frame(-1, canvas, z, z, process.is_noise(z), _settled(sampler, blocks, block, z)))
    n, most = 0, sampler.most_steps(steps, z.shape[1])
    while bool((active := (block < blocks.number) & ~stopped).any()):
        assert n < most, f"step {n} of a run of at most {most}: the sampler does not finish its blocks"
        is_open = (blocks.index == block[:, None]) & active[:, None]
        state = State(z, is_open, t, step, blocks.planned(block), _draws(canvas, seed, n), memory, canvas.draft)
        plan = sampler.plan(state)
        rows = plan.sites.flatten().nonzero().squeeze(1)
        logits = _answers(predictor, process, blocks, block, z, t, plan, rows, wanted) if rows.numel() else nothing
        moved = sampler.step(state, plan, rows, logits)
        z_new = torch.where(is_open, moved.z, z)
        if trace:
            changes.append(_changes(n, canvas, z, z_new, moved.confidence))
        after = replace(state, z=z_new, t=moved.t, step=step + 1, memory=moved.memory)
        done = sampler.finished(after) & active
        block, step = block + done.long(), torch.where(done, 0, step + 1)
        t, memory, nfe = torch.where(done, 0.0, moved.t), moved.memory, nfe + passes * plan.sites.any(1)
        if stop_id is not None:
            stopped = _stopped(canvas, _settled(sampler, blocks, block, z_new), z_new, stop_id)
        if observe is not None:
            settled = _settled(sampler, blocks, block, z_new) | stopped[:, None]
            observe(_frame(n, canvas, z, z_new, process.is_noise(z_new), settled))
        z, n = z_new, n + 1
    return Sampled(z, nfe, n, tuple(changes), start)


def _answers(
    predictor: Predictor,
    process: Process,
    blocks: Blocks,
    block: torch.Tensor,
    z: torch.Tensor,
    t: torch.Tensor,
    plan: Plan,
    rows: torch.Tensor,
    wanted: Head,
) -> torch.Tensor:
    """Return (N, K) logits of the head that the sampler wants, at flat indices ``rows`` (N,), of what it shows."""
    shown, within = z if plan.shown is None else plan.shown, t if plan.told is None else plan.told
    logits = predictor.predict(shown, blocks.model_time(process, block, within), rows)
    return turned(logits, shown, blocks.own_time(process, block, within), rows, process, predictor.kind, wanted)


def _guided(
    predictor: Predictor, process: Process, canvas: Canvas, guidance: float
) -> tuple[Predictor, torch.Tensor | int]:
    """Return the head with guidance, and the network evaluations that a row takes in a call, (B,) or 1."""
    if guidance == 0.0:
        return predictor, 1
    guided = GuidedPredictor(predictor, process, canvas.given, guidance)
    return guided, guided.passes


def _start(sampler: Sampler, canvas: Canvas, draws: Draws) -> torch.Tensor:
    """Return the canvases at t = 0, (B, T) int64: noise in the holes, or their draft."""
    z = sampler.process.source(canvas.ids, canvas.editable, draws)
    if canvas.draft is None:
        return z
    sampler.check_draft()
    return torch.where(canvas.draft, canvas.ids, z)


def _draws(canvas: Canvas, seed: int, step: int) -> Draws:
    """Return the random numbers of a step: one stream per sample, a function of the position in its canvas."""
    sample = canvas.sample[:, None].expand_as(canvas.ids)
    return Draws(seed, step, sample, torch.zeros_like(canvas.ids), canvas.positions())


def _settled(sampler: Sampler, blocks: Blocks, block: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Return (B, T) bool: positions that can no longer change, given ones included."""
    settled = blocks.index < block[:, None]
    return settled | ~sampler.process.is_noise(z) if sampler.monotone else settled


def _stopped(canvas: Canvas, settled: torch.Tensor, z: torch.Tensor, stop_id: int) -> torch.Tensor:
    """Return (B,) bool: rows whose first ``stop_id`` has nothing before it that may still change."""
    width = z.shape[1]
    position = torch.arange(width, device=z.device).expand_as(z)
    first_unsettled = torch.where(settled, width, position).amin(1)
    first_stop = torch.where(canvas.editable & (z == stop_id), position, width).amin(1)
    return first_stop < first_unsettled


def _changes(step: int, canvas: Canvas, z: torch.Tensor, z_new: torch.Tensor, confidence: torch.Tensor) -> TraceStep:
    row, position = (z != z_new).nonzero(as_tuple=True)
    columns = (canvas.sample[row], position, z[row, position], z_new[row, position], confidence[row, position])
    return TraceStep(step, *(column.cpu() for column in columns))


def _frame(
    step: int, canvas: Canvas, z: torch.Tensor, z_new: torch.Tensor, noise: torch.Tensor, settled: torch.Tensor
) -> Frame:
    return Frame(step, z_new, canvas.editable & noise, z != z_new, settled, canvas)
