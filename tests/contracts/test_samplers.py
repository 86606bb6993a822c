"""What every sampler owes the loop. Parametrised over the registry: a new sampler is tested by existing."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from diffusionlm.errors import PairingError
from diffusionlm.generation.canvas import Canvas, Hole, Template, lay_out
from diffusionlm.generation.loop import Frame, Sampled, sample
from diffusionlm.generation.trace import traces_of
from diffusionlm.process import PROCESSES, DiscreteProcess, Process, Vocabulary
from diffusionlm.sampling import SAMPLERS, Filters
from diffusionlm.sampling.base import Head

K, EOS = 11, 10
VOCABULARY = Vocabulary(size=K, mask_id=K + 2, rows=K + 3)
TEMPLATES = [
    Template(((1, 2, 3), Hole(7))),
    Template((Hole(10),)),
    Template(((4,), Hole(2), (5, 6), Hole(5), (7,))),
    Template((tuple(range(9)),)),
    Template((Hole(1), (3,))),
]


class MixingHead:
    """Logits that depend on the whole canvas, its length and the position, and on nothing in other rows."""

    def __init__(self, kind: Head, segments: torch.Tensor) -> None:
        self.kind: Head = kind
        self.segments = segments

    def predict(self, z: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert tuple(t.shape) == tuple(z.shape)
        assert t.dtype == torch.float64
        assert bool(((t >= 0) & (t <= 1)).all())
        if not isinstance(z, torch.Tensor):  # a state on the simplex
            z = z.embed(torch.arange(VOCABULARY.rows, dtype=torch.float64)[:, None])[..., 0]
        position = torch.arange(z.shape[1])
        inside = (self.segments > 0).repeat(z.shape[0] // self.segments.shape[0], 1)  # guidance asks for twice the rows
        context = (torch.sin(0.7 * z.double() + 1.3 * position) * inside).sum(1)
        phase = context[:, None] + 0.9 * position
        logits = 2.0 * torch.sin(phase[..., None] * torch.arange(1, K + 1))
        return logits.reshape(-1, K)[rows]


def pairs() -> list[tuple[str, str]]:
    """Return every registered sampler with every process that it fits."""
    return [
        (name, other)
        for name in SAMPLERS
        for other in PROCESSES
        if issubclass(PROCESSES[other], SAMPLERS[name].requires)
    ]


def process_of(name: str) -> Process:
    return PROCESSES[name](PROCESSES[name].Params(), VOCABULARY)


def run(pair: tuple[str, str], canvas: Canvas, steps: int, seed: int = 0, **options: object) -> Sampled:
    name, other = pair
    process = process_of(other)
    sampler = SAMPLERS[name](SAMPLERS[name].Params(), process, Filters())
    if process.blocks(canvas.positions()) is not None:
        options.pop("block_length", None)  # it has blocks of its own
    head = MixingHead(sorted(sampler.heads)[-1], canvas.segments)
    return sample(head, sampler, canvas, steps=steps, seed=seed, **options)  # type: ignore[arg-type]


def guidance_of(pair: tuple[str, str]) -> list[float]:
    """Return the weights of guidance to try: where nothing can stand for a token that is left out, none."""
    process = process_of(pair[1])
    return [0.0, 1.5] if isinstance(process, DiscreteProcess) and process.has_mask else [0.0]


def test_every_sampler_fits_a_process_and_every_process_has_its_own_sampler() -> None:
    assert {name for name, _ in pairs()} == set(SAMPLERS)
    for process in PROCESSES:
        assert (PROCESSES[process].sampler, process) in pairs()


@pytest.mark.parametrize("pair", pairs(), ids="-".join)
class TestEveryPair:
    @pytest.mark.parametrize("steps", [3, 8, 60])
    @pytest.mark.parametrize("block_length", [None, 4])
    def test_ends_with_data_tokens_and_leaves_given_ones(
        self, pair: tuple[str, str], steps: int, block_length: int | None
    ) -> None:
        canvas = lay_out(TEMPLATES, range(5))
        for guidance in guidance_of(pair):
            result = run(pair, canvas, steps, block_length=block_length, guidance=guidance)
            assert bool((result.ids[~canvas.editable] == canvas.ids[~canvas.editable]).all())
            assert 0 <= int(result.ids.min()) <= int(result.ids.max()) < K
            # A row takes part in a step's call at most once; guided, twice where something is given (not in row 1).
            passes = torch.tensor([1, 1, 1, 0, 1]) if guidance == 0.0 else torch.tensor([2, 1, 2, 0, 2])
            assert bool((result.nfe <= passes * result.steps).all())
            assert bool((result.nfe >= passes).all())
            assert bool((result.nfe % passes.clamp_min(1) == 0).all())

    def test_is_a_function_of_the_seed(self, pair: tuple[str, str]) -> None:
        canvas = lay_out(TEMPLATES, range(5))
        first, again, other = (run(pair, canvas, 6, seed).ids for seed in (3, 3, 4))
        assert bool((first == again).all())
        assert bool((first != other).any())

    def test_a_sample_does_not_depend_on_its_batch(self, pair: tuple[str, str]) -> None:
        for guidance in guidance_of(pair):
            together = run(pair, lay_out(TEMPLATES, range(5)), 6, stop_id=EOS, guidance=guidance)
            for i, template in enumerate(TEMPLATES):
                alone = run(pair, lay_out([template], [i]), 6, stop_id=EOS, guidance=guidance)
                assert alone.ids[0].tolist() == together.ids[i, : template.length].tolist()
                assert int(alone.nfe[0]) == int(together.nfe[i])

    def test_a_sample_of_64_is_the_same_alone(self, pair: tuple[str, str]) -> None:
        templates = [TEMPLATES[i % len(TEMPLATES)] for i in range(64)]
        together = run(pair, lay_out(templates, range(64)), 9, block_length=5)
        for i in (7, 36, 60):
            alone = run(pair, lay_out([templates[i]], [i]), 9, block_length=5)
            assert alone.ids[0].tolist() == together.ids[i, : templates[i].length].tolist()

    def test_with_a_pace_of_its_own_the_steps_change_nothing(self, pair: tuple[str, str]) -> None:
        few, many = (run(pair, lay_out(TEMPLATES, range(5)), steps) for steps in (3, 60))
        if SAMPLERS[pair[0]].own_pace:
            assert few.nfe.tolist() == many.nfe.tolist()
            assert bool((few.ids == many.ids).all())
        else:
            assert few.nfe.tolist() != many.nfe.tolist() or bool((few.ids != many.ids).any())

    def test_samples_of_one_canvas_differ(self, pair: tuple[str, str]) -> None:
        result = run(pair, lay_out([TEMPLATES[1]] * 8, range(8)), 6)
        assert len(result.ids.unique(dim=0)) > 1

    def test_the_trace_replays_the_run(self, pair: tuple[str, str]) -> None:
        canvas = lay_out(TEMPLATES, range(10, 15))
        frames: list[Frame] = []
        result = run(pair, canvas, 6, trace=True, observe=frames.append)
        assert [frame.step for frame in frames] == list(range(-1, result.steps))
        z = result.start.clone()
        assert bool((z == frames[0].z).all())
        for step, frame in zip(result.trace, frames[1:]):
            row = step.sample - 10
            assert bool((z[row, step.position] == step.old).all())
            z[row, step.position] = step.new
            assert bool((z == frame.z).all())
            known = step.confidence[~step.confidence.isnan()]
            assert bool(((known > 0) & (known <= 1)).all())
        assert bool((z == result.ids).all())
        lengths = [template.length for template in TEMPLATES]
        traces = traces_of(result.start, result.trace, range(10, 15), lengths)
        for trace, ids, length in zip(traces, result.ids.tolist(), lengths):
            assert trace.replay() == ids[:length]

    def test_what_a_frame_calls_settled_never_changes(self, pair: tuple[str, str]) -> None:
        frames: list[Frame] = []
        canvas = lay_out(TEMPLATES, range(5))
        result = run(pair, canvas, 12, block_length=4, stop_id=EOS, observe=frames.append)
        for frame in frames:
            assert bool((~frame.settled | (frame.z == result.ids)).all())
            assert bool(frame.settled[~canvas.editable].all())
        assert bool(frames[-1].settled.all())
        assert not bool(frames[0].settled[canvas.editable].any())


@pytest.mark.parametrize("name", SAMPLERS)
class TestEverySampler:
    def test_is_documented(self, name: str) -> None:
        sampler = SAMPLERS[name]
        assert re.search(r"https?://|arXiv:\d", sampler.__doc__ or ""), f"{sampler.__name__} names no reference"
        assert sys.modules[sampler.__module__].__doc__
        assert sampler.Params.__doc__
        for field, info in sampler.Params.model_fields.items():
            assert field == "name" or info.description, f"{name}.{field} has no description"

    def test_refuses_a_process_of_another_kind(self, name: str) -> None:
        class Params(PROCESSES["mask"].Params):
            name: str = "other"  # type: ignore[assignment]

        other = type("Other", (Process,), {"Params": Params})
        with pytest.raises(PairingError, match=f"sampler '{name}' does not fit process 'other'; samplers that fit"):
            SAMPLERS[name].check(other)
