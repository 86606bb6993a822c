"""What every sampler owes the loop. Parametrised over the registry: a new sampler is tested by existing."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from diffusionlm.errors import PairingError
from diffusionlm.generation.canvas import Canvas, Hole, Template, lay_out
from diffusionlm.generation.loop import Frame, Sampled, sample
from diffusionlm.process import PROCESSES, Process, Vocabulary
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
        assert t.shape == z.shape
        assert t.dtype == torch.float64
        assert bool(((t >= 0) & (t <= 1)).all())
        position = torch.arange(z.shape[1])
        context = (torch.sin(0.7 * z.double() + 1.3 * position) * (self.segments > 0)).sum(1)
        phase = context[:, None] + 0.9 * position
        logits = 2.0 * torch.sin(phase[..., None] * torch.arange(1, K + 1))
        return logits.reshape(-1, K)[rows]


PAIRS = [
    (name, process)
    for name in SAMPLERS
    for process in PROCESSES
    if issubclass(PROCESSES[process], SAMPLERS[name].requires)
]


def test_every_sampler_fits_a_process_and_every_process_has_its_own_sampler() -> None:
    assert {name for name, _ in PAIRS} == set(SAMPLERS)
    for process in PROCESSES:
        assert (PROCESSES[process].sampler, process) in PAIRS


def run(name: str, process: str, canvas: Canvas, steps: int, seed: int = 0, **options: object) -> Sampled:
    noise = PROCESSES[process](PROCESSES[process].Params(), VOCABULARY)
    sampler = SAMPLERS[name](SAMPLERS[name].Params(), noise, Filters())
    head = MixingHead(sorted(sampler.heads)[-1], canvas.segments)
    return sample(head, sampler, canvas, steps=steps, seed=seed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "process"), PAIRS)
class TestEveryPair:
    @pytest.mark.parametrize("steps", [3, 8, 60])
    @pytest.mark.parametrize("block_length", [None, 4])
    def test_ends_with_data_tokens_and_leaves_given_ones(
        self, name: str, process: str, steps: int, block_length: int | None
    ) -> None:
        canvas = lay_out(TEMPLATES, range(5))
        result = run(name, process, canvas, steps, block_length=block_length)
        assert bool((result.ids[~canvas.editable] == canvas.ids[~canvas.editable]).all())
        assert 0 <= int(result.ids.min()) <= int(result.ids.max()) < K
        assert int(result.nfe[3]) == 0
        assert bool((result.nfe[[0, 1, 2, 4]] >= 1).all())

    def test_is_a_function_of_the_seed(self, name: str, process: str) -> None:
        canvas = lay_out(TEMPLATES, range(5))
        first, again, other = (run(name, process, canvas, 6, seed).ids for seed in (3, 3, 4))
        assert bool((first == again).all())
        assert bool((first != other).any())

    def test_a_sample_does_not_depend_on_its_batch(self, name: str, process: str) -> None:
        together = run(name, process, lay_out(TEMPLATES, range(5)), 6, stop_id=EOS)
        for i, template in enumerate(TEMPLATES):
            alone = run(name, process, lay_out([template], [i]), 6, stop_id=EOS)
            assert alone.ids[0].tolist() == together.ids[i, : template.length].tolist()
            assert int(alone.nfe[0]) == int(together.nfe[i])

    def test_a_sample_of_64_is_the_same_alone(self, name: str, process: str) -> None:
        templates = [TEMPLATES[i % len(TEMPLATES)] for i in range(64)]
        together = run(name, process, lay_out(templates, range(64)), 9, block_length=5)
        for i in (7, 36, 60):
            alone = run(name, process, lay_out([templates[i]], [i]), 9, block_length=5)
            assert alone.ids[0].tolist() == together.ids[i, : templates[i].length].tolist()

    def test_samples_of_one_canvas_differ(self, name: str, process: str) -> None:
        result = run(name, process, lay_out([TEMPLATES[1]] * 8, range(8)), 6)
        assert len(result.ids.unique(dim=0)) > 1

    def test_the_trace_replays_the_run(self, name: str, process: str) -> None:
        canvas = lay_out(TEMPLATES, range(10, 15))
        frames: list[Frame] = []
        result = run(name, process, canvas, 6, trace=True, observe=frames.append)
        assert [frame.step for frame in frames] == list(range(-1, result.steps))
        z = frames[0].z.clone()
        for step, frame in zip(result.trace, frames[1:]):
            row = step.sample - 10
            assert bool((z[row, step.position] == step.old).all())
            z[row, step.position] = step.new
            assert bool((z == frame.z).all())
            known = step.confidence[~step.confidence.isnan()]
            assert bool(((known > 0) & (known <= 1)).all())
        assert bool((z == result.ids).all())


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
