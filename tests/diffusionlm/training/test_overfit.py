"""A text is learnt by heart and then said again, exactly, by every sampler and by infilling.

What catches a prediction read at the wrong position, a mask token in the output, a lost end of text. The first token is
given throughout: a network without absolute positions cannot tell one hidden position of an empty canvas from another,
and with shift 1 nothing predicts the first token.
"""

from __future__ import annotations

import pytest
import torch

from diffusionlm.generation import GenerationParams, InfillingParams, generate, infill
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.objective import CE
from diffusionlm.objective.ce import CEParams
from diffusionlm.optim import build_optimizer
from diffusionlm.optim.muon import MuonParams
from diffusionlm.process import MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.sampling import SAMPLERS
from diffusionlm.tokenizer import ByteTokenizer
from diffusionlm.training.step import TrainStep
from tests.diffusionlm.process.batches import lay_rows

TEXT, STEPS = "Wolf, jump by quick dawns!", 200
TOKENIZER = ByteTokenizer()


@pytest.mark.parametrize("shift", [0, 1])
def test_learnt_and_said_again(shift):
    ids = [*TOKENIZER.encode(TEXT), TOKENIZER.eos_id]
    batch = lay_rows([[(number, ids)] for number in range(8)], len(ids), frozen=1)
    vocabulary = Vocabulary.after(TOKENIZER.vocab_size)
    shape = TransformerParams(layers=2, width=64, heads=2, context_length=len(ids), shift=shift)
    model = build_model(shape, vocabulary, 0)
    parameters = dict(model.named_parameters())
    process = MaskProcess(MaskParams(), vocabulary)
    step = TrainStep(
        model,
        parameters,
        CE(CEParams(), process),
        build_optimizer(MuonParams(), parameters, model.parameter_roles()),
        None,
        clip_norm=1.0,
        seed=0,
        device=torch.device("cpu"),
    )
    losses = [float(step([batch], number, 1.0 - number / STEPS).loss) for number in range(STEPS)]
    assert max(losses[-10:]) < 0.2, losses[-10:]
    model.eval()
    for sampler in (name for name in SAMPLERS if issubclass(MaskProcess, SAMPLERS[name].requires)):
        for steps in (6, 64):
            how = GenerationParams.model_validate({"sampler": {"name": sampler}, "steps": steps, "temperature": 0.0})
            [made] = generate(model, TOKENIZER, process, [TEXT[:1]], how)
            assert TEXT[:1] + made.text == TEXT, (sampler, steps)
            assert made.stopped == "eos"
    [filled] = infill(
        model, TOKENIZER, process, ["Wolf, <|hole:4|> by <|hole:5|> dawns!"], InfillingParams(temperature=0.0)
    )
    assert filled.text == TEXT
