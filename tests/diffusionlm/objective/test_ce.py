"""Plain cross-entropy: the mean over the noised tokens."""

import torch

from diffusionlm.objective import CE
from diffusionlm.objective.ce import CEParams
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.process import MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.model.networks import K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents

BATCH = lay_rows([random_documents([9, 5], K), [(2, [1] * 12)]], 16)


def test_it_is_the_mean_over_the_masked_tokens():
    model = network()
    part = prepare(CE(CEParams(), MaskProcess(MaskParams(), Vocabulary.after(K))), BATCH, 0, 1, torch.arange(2), 2)
    noised = part.corrupted.noised
    assert 0 < int(noised.sum()) == int(part.denominator) == part.passes[0].scored
    logits = model.logits(model(part.corrupted.x_t, None, part.passes[0].view.layout))
    expected = torch.nn.functional.cross_entropy(logits[noised], BATCH.x_1[noised])
    made = loss_sum(model, part)
    assert torch.allclose(made.total / part.denominator, expected)
    assert torch.allclose(made.values.mean(), expected.detach())
