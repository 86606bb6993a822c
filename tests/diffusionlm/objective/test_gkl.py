"""The generalised KL against that of the flow_matching package, and against the weighted cross-entropy of masks."""

from __future__ import annotations

import pytest
import torch
from flow_matching.loss import MixturePathGeneralizedKL
from flow_matching.path import MixtureDiscreteProbPath
from flow_matching.path.scheduler import CondOTScheduler, PolynomialConvexScheduler

from diffusionlm.errors import PairingError
from diffusionlm.objective import GKL, NELBO
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.gkl import GKLParams
from diffusionlm.objective.nelbo import NELBOParams
from diffusionlm.objective.rows import Rows
from diffusionlm.process import PROCESSES, KeepProcess, Vocabulary
from tests.diffusionlm.model.networks import VOCABULARY, K, network
from tests.diffusionlm.process.batches import draws_of, lay_rows, random_documents

BATCH = lay_rows([[document] for document in random_documents([12] * 40, K)], 12)
MASKED_LOGIT = -1e9
"""The other package lets a network predict the mask token; ours cannot."""


@pytest.mark.parametrize("source", ["mask", "uniform", "mixture"])
@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        ({"name": "linear"}, CondOTScheduler()),
        ({"name": "polynomial", "exponent": 2.0}, PolynomialConvexScheduler(n=2.0)),
        ({"name": "polynomial", "exponent": 3.0}, PolynomialConvexScheduler(n=3.0)),
    ],
    ids=["linear", "square", "cube"],
)
def test_it_is_that_of_flow_matching(source: str, schedule: dict, theirs: object) -> None:
    """Loss of every position and its gradient, on random logits; mask noise with the visible tokens carried over."""
    process = PROCESSES.build(PROCESSES[source].Params.model_validate({"schedule": schedule}), VOCABULARY)
    objective = GKL(GKLParams(), process)
    t = torch.linspace(0.05, 0.95, len(BATCH), dtype=torch.float64)[:, None].expand_as(BATCH.x_1)
    out = process.corrupt(BATCH.x_1, t, BATCH.editable, BATCH.segments, draws_of(BATCH))
    generator = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(*BATCH.x_1.shape, K + 1, generator=generator, dtype=torch.float64)).float()
    logits[..., K] = MASKED_LOGIT
    if source == "mask":
        carried = torch.nn.functional.one_hot(BATCH.x_1, K + 1).float() * -MASKED_LOGIT + MASKED_LOGIT
        logits = torch.where(out.noised[..., None], logits, carried)
    logits.requires_grad_()
    loss = MixturePathGeneralizedKL(path=MixtureDiscreteProbPath(scheduler=theirs), reduction="none")  # type: ignore[arg-type]
    # Their loss takes one time per row.
    expected = loss(logits, BATCH.x_1, out.x_t, t[:, 0].float())
    (slope,) = torch.autograd.grad(expected.sum(), logits)

    index = objective.scored(out).flatten().nonzero().squeeze(1)
    leaf = logits.detach()[..., :K].reshape(-1, K)[index].requires_grad_()
    rows = Rows.of(out, BATCH.x_1, index)
    one = objective.loss() or (lambda given, at: torch.nn.functional.cross_entropy(given, at.x, reduction="none"))
    ours = one(leaf, rows) * objective.weight(out).flatten()[index].float()
    (gradient,) = torch.autograd.grad(ours.sum(), leaf)
    everywhere = torch.zeros(BATCH.x_1.numel())
    everywhere[index] = ours.detach()
    assert torch.allclose(everywhere, expected.detach().flatten(), atol=1e-5, rtol=1e-5)
    assert torch.allclose(gradient, slope[..., :K].reshape(-1, K)[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("corruption", ["bernoulli", "exact_count"])
def test_for_mask_noise_it_is_the_weighted_cross_entropy(corruption: str) -> None:
    process = PROCESSES.build(PROCESSES["mask"].Params.model_validate({"corruption": corruption}), VOCABULARY)
    model, found = network(), []
    for objective in (GKL(GKLParams(), process), NELBO(NELBOParams(), process)):
        part = prepare(objective, BATCH, 0, 3, torch.arange(len(BATCH)), len(BATCH))
        found.append(float(loss_sum(model, part).total / part.denominator))
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_which_processes_it_refuses() -> None:
    for name in ("gidd", "ar"):  # of the second it would be wrong to say that its noise changes: it has none
        expected = rf"\(a mixture path\), which process '{name}' does not have; objectives that fit '{name}'"
        with pytest.raises(PairingError, match=expected):
            GKL(GKLParams(), PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(K)))
    with pytest.raises(PairingError, match=r"process 'keep' has no likelihood bound.*: ce, ce_all, ce_entropy, llada$"):
        GKL(GKLParams(), PROCESSES.build(KeepProcess.Params(), Vocabulary.after(K)))
