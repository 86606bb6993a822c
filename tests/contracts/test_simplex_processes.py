"""What every process on the simplex owes its users. Parametrised over the registry."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.errors import PairingError
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import PROCESSES, Process, Vocabulary
from diffusionlm.process.simplex import mixing
from diffusionlm.process.simplex.base import SimplexProcess
from diffusionlm.sampling import SAMPLERS
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

K = 7
VOCABULARY = Vocabulary(size=K, mask_id=K + 1, rows=K + 3)
DOCUMENTS = random_documents([5, 3, 9, 1, 4, 12, 6], K)
PACKED = lay_rows([DOCUMENTS[:3], DOCUMENTS[3:5], DOCUMENTS[5:]], 18, frozen=1)
ALONE = lay_rows([[document] for document in DOCUMENTS], 15, frozen=1)
TIMES = torch.linspace(0.05, 0.9, len(DOCUMENTS), dtype=torch.float64)
TABLE = torch.randn((K + 3, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
NAMES = [name for name in PROCESSES if PROCESSES[name].state == "simplex"]


def build(name: str) -> SimplexProcess:
    process: Process = PROCESSES.build(PROCESSES[name].Params(), VOCABULARY)
    assert isinstance(process, SimplexProcess)
    return process


def state(process: SimplexProcess, batch: Batch, times: torch.Tensor, x: torch.Tensor | None = None, step: int = 0):
    clean = batch.x_1 if x is None else x
    return process.corrupt(clean, times[batch.document], batch.editable, batch.segments, draws_of(batch, 3, step)).x_t


@pytest.mark.parametrize("name", NAMES)
class TestEverySimplexProcess:
    def test_the_start_state_knows_nothing_of_the_text(self, name: str) -> None:
        """At t = 0 the coordinates, what is embedded of them and the displayed ids do not depend on x_1."""
        process = build(name)
        other = torch.where(PACKED.editable, (PACKED.x_1 + 3) % K, PACKED.x_1)
        nothing = torch.zeros(len(DOCUMENTS), dtype=torch.float64)
        one, two = (state(process, PACKED, nothing, x) for x in (PACKED.x_1, other))
        assert torch.allclose(process.dense(one), process.dense(two), atol=1e-6)
        assert torch.allclose(one.embed(TABLE), two.embed(TABLE), atol=1e-6)
        starts = [process.source(x, PACKED.editable, draws_of(PACKED)) for x in (PACKED.x_1, other)]
        assert torch.equal(starts[0], starts[1])
        assert torch.equal(starts[0][~PACKED.editable], PACKED.x_1[~PACKED.editable])

    def test_given_tokens_embed_exactly(self, name: str) -> None:
        embedded = state(build(name), PACKED, TIMES).embed(TABLE)
        assert torch.equal(embedded[~PACKED.editable], TABLE[PACKED.x_1][~PACKED.editable])

    def test_the_noise_does_not_depend_on_the_packing(self, name: str) -> None:
        process = build(name)
        packed, alone = (process.dense(state(process, batch, TIMES)) for batch in (PACKED, ALONE))
        for document in range(len(DOCUMENTS)):
            one, two = ((b.document == document) & (b.segments > 0) for b in (PACKED, ALONE))
            assert torch.equal(packed[one], alone[two])

    def test_steps_bring_new_noise(self, name: str) -> None:
        process = build(name)
        one, two = (process.dense(state(process, ALONE, TIMES, step=step)) for step in (0, 1))
        assert not torch.equal(one, two)

    def test_the_embedding_and_its_gradient_are_the_dense_ones(self, name: str, monkeypatch) -> None:
        monkeypatch.setattr(mixing, "chunk_sites", lambda sites, entries: 4)
        monkeypatch.setattr(mixing, "slice_sites", lambda entries: 3)
        process = build(name)
        noisy = state(process, PACKED, TIMES)
        weights = process.weights(process.dense(noisy, torch.float64).flatten(0, 1), noisy.level)
        direction = torch.sin(torch.arange(5 * PACKED.x_1.numel(), dtype=torch.float64)).view(*PACKED.x_1.shape, 5)
        found = []
        for embed in (
            noisy.embed,
            lambda table: torch.where(
                PACKED.editable[..., None],
                (weights @ process.rows_of(table)).view(*PACKED.x_1.shape, 5),
                table[PACKED.x_1],
            ),
        ):
            table = TABLE.clone().requires_grad_()
            value = embed(table)
            found.append((value.detach(), torch.autograd.grad((value * direction).sum(), table)[0]))
        assert torch.allclose(found[0][0], found[1][0], atol=1e-10)
        assert torch.allclose(found[0][1], found[1][1], atol=1e-10)

    def test_samplers_for_ids_are_refused(self, name: str) -> None:
        with pytest.raises(
            PairingError, match=f"sampler 'confidence' does not fit process '{name}'; samplers that fit"
        ):
            SAMPLERS["confidence"].check(PROCESSES[name])
        with pytest.raises(PairingError, match="objective 'nelbo' needs states that are token ids"):
            OBJECTIVES["nelbo"].check(PROCESSES[name])
        SAMPLERS[PROCESSES[name].sampler].check(PROCESSES[name])
        OBJECTIVES[PROCESSES[name].objective].check(PROCESSES[name])

    def test_is_documented_and_has_no_bound(self, name: str) -> None:
        kind = PROCESSES[name]
        assert re.search(r"https?://", kind.__doc__ or "")
        assert sys.modules[kind.__module__].__doc__
        assert kind.bound == "none"
