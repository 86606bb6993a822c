"""Left to right: the order, the filters, the stop, and a text learnt by heart and said again."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.errors import ConfigError, PairingError
from diffusionlm.generation import GenerationParams, InfillingParams, generate, infill
from diffusionlm.generation.batches import complete
from diffusionlm.generation.canvas import Hole, Template
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.objective import OBJECTIVES
from diffusionlm.optim import build_optimizer
from diffusionlm.optim.muon import MuonParams
from diffusionlm.process import PROCESSES, Vocabulary
from diffusionlm.sampling import SAMPLERS
from diffusionlm.tokenizer import ByteTokenizer
from diffusionlm.training.step import TrainStep
from tests.diffusionlm.model.networks import VOCABULARY, network
from tests.diffusionlm.process.batches import lay_rows

TEXT, STEPS = "Wolf, jump by quick dawns!", 120
TOKENIZER = ByteTokenizer()


@pytest.mark.parametrize(("name", "objective"), [("ar", "ar"), ("block", "nelbo")])
def test_learnt_and_said_again_from_nothing(name: str, objective: str) -> None:
    """The first token too: it is predicted from m alone. Catches a wrong shift and a leak of the answer."""
    ids = [*TOKENIZER.encode(TEXT), TOKENIZER.eos_id]
    batch = lay_rows([[(number, ids)] for number in range(8)], len(ids))
    vocabulary = Vocabulary.after(TOKENIZER.vocab_size)
    shape = TransformerParams(layers=2, width=64, heads=2, context_length=len(ids))
    model = build_model(shape, vocabulary, 0)
    parameters = dict(model.named_parameters())
    given = {"block_length": 4} if name == "block" else {}
    process = PROCESSES.build(PROCESSES[name].Params.model_validate(given), vocabulary)
    made = OBJECTIVES.build(OBJECTIVES[objective].Params(), process)
    optimizer = build_optimizer(MuonParams(), parameters, model.parameter_roles())
    step = TrainStep(
        model, parameters, made, optimizer, None, clip_norm=1.0, seed=0, device=torch.device("cpu")
    )  # fmt: skip
    losses = [float(step([batch], number, 1.0 - number / STEPS).loss) for number in range(STEPS)]
    assert max(losses[-10:]) < 0.5, losses[-10:]
    model.eval()
    fitting = [s for s in SAMPLERS if issubclass(PROCESSES[name], SAMPLERS[s].requires)]
    prompts = [TEXT[:1], TEXT[:9], ""] if name == "ar" else [TEXT[:1], TEXT[:9]]
    for sampler in fitting:
        how = GenerationParams.model_validate({"sampler": {"name": sampler}, "steps": 27, "temperature": 0.0})
        for prompt, done in zip(prompts, generate(model, TOKENIZER, process, prompts, how)):
            assert prompt + done.text == TEXT, sampler
            assert done.stopped == "eos"
    how = InfillingParams(temperature=0.0, steps=27)
    [filled] = infill(model, TOKENIZER, process, ["Wolf, <|hole:4|> by <|hole:5|> dawns!"], how)
    assert filled.text == TEXT


def test_tokens_come_in_order_one_a_call_whatever_the_steps() -> None:
    frames, template = [], Template(((1,), Hole(3), (2,), Hole(2)))
    process = PROCESSES.build(PROCESSES["ar"].Params(), VOCABULARY)
    [done] = complete(network(), process, [template], GenerationParams(steps=1), observe=frames.append)
    assert [frame.changed[0].nonzero().flatten().tolist() for frame in frames] == [[], [1], [2], [3], [5], [6]]
    assert done.nfe == 5


def test_other_samplers_and_block_lengths_are_refused() -> None:
    ar, block = (PROCESSES.build(PROCESSES[name].Params(), VOCABULARY) for name in ("ar", "block"))
    with pytest.raises(PairingError, match="sampler 'ancestral' does not fit process 'ar'; samplers that fit 'ar': ar"):
        complete(
            network(), ar, [Template((Hole(3),))], GenerationParams.model_validate({"sampler": {"name": "ancestral"}})
        )
    with pytest.raises(PairingError, match="sampler 'ar' does not fit process 'block'"):
        complete(network(), block, [Template((Hole(3),))], GenerationParams.model_validate({"sampler": {"name": "ar"}}))
    with pytest.raises(ConfigError, match=r"block_length = 2 was given, but .* blocks of its own; unset block_length"):
        complete(network(), block, [Template((Hole(3),))], GenerationParams(block_length=2))
    with pytest.raises(PairingError, match="objective 'ar' does not fit process 'block'; objectives that fit"):
        OBJECTIVES.build(OBJECTIVES["ar"].Params(), block)
    with pytest.raises(PairingError, match="objective 'joint' does not fit process 'ar'"):
        OBJECTIVES.build(OBJECTIVES["joint"].Params(), ar)


def test_greedy_top_k_and_top_p_take_the_most_likely_token() -> None:
    process = PROCESSES.build(PROCESSES["ar"].Params(), VOCABULARY)
    greedy, one, nucleus = (
        complete(network(), process, [Template((Hole(12),))], GenerationParams.model_validate(values))[0].ids
        for values in ({"temperature": 0.0}, {"top_k": 1, "seed": 4}, {"top_p": 1e-9, "seed": 5})
    )
    assert greedy == one == nucleus
