"""Classifier-free guidance: the formula, what it costs, and that it commutes with the conversion of heads."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.errors import PairingError
from diffusionlm.generation.canvas import Hole, Template, lay_out
from diffusionlm.generation.loop import sample
from diffusionlm.model.params import TransformerParams
from diffusionlm.process import Head, Vocabulary
from diffusionlm.sampling import SAMPLERS, Filters
from diffusionlm.sampling.guidance import GuidedPredictor, guide
from diffusionlm.sampling.predictor import ConvertedPredictor, ModelPredictor
from tests.diffusionlm.generation.scripted import small_model
from tests.oracle.joint import OraclePredictor, random_joint
from tests.oracle.near_certain import K, oracle, process_of

JOINT = random_joint(K, 3, seed=3)


def test_the_guided_law_of_one_hole_is_the_formula() -> None:
    """p(x | given)^(w + 1) / p(x)^w, normalised."""
    process, w = process_of("mask"), 1.7
    canvas = lay_out([Template(((2, 1), Hole(1)))] * 20_000, range(20_000))
    sampler = SAMPLERS["ancestral"](SAMPLERS["ancestral"].Params(), process, Filters())
    result = sample(OraclePredictor(JOINT), sampler, canvas, steps=1, seed=0, guidance=w)
    cond, marginal = JOINT.probability[2, 1], JOINT.probability.sum((0, 1))
    law = (cond / cond.sum()) ** (w + 1) / marginal**w
    law = law / law.sum()
    counts = torch.bincount(result.ids[:, 2], minlength=K) / len(result.ids)
    assert float((counts - law).abs().sum() / 2) < 0.01
    assert float((law - cond / cond.sum()).abs().sum() / 2) > 0.1
    assert result.nfe.unique().tolist() == [2]


def test_weight_zero_is_the_conditional_and_minus_infinity_stays() -> None:
    cond = torch.randn(5, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    un = torch.randn(5, K, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(guide(cond, un, 0.0), cond.log_softmax(-1))
    cond[0, 1] = un[1, 2] = cond[2, 3] = un[2, 3] = -torch.inf
    guided = guide(cond, un, 2.0)
    assert guided.isneginf().nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert not bool(guided.isnan().any())


def test_confidence_is_that_of_the_guided_distribution() -> None:
    process = process_of("mask")
    canvas = lay_out([Template(((2, 1), Hole(1)))], [0])
    sampler = SAMPLERS["confidence"](SAMPLERS["confidence"].Params(), process, Filters(temperature=0.3, top_k=2))
    result = sample(OraclePredictor(JOINT), sampler, canvas, steps=1, seed=0, guidance=2.0, trace=True)
    z = torch.tensor([[2, 1, K], [K, K, K]])
    logits = OraclePredictor(JOINT).predict(z, None, torch.tensor([2, 5]))
    guided = guide(logits[:1], logits[1:], 2.0).softmax(-1)[0]
    assert float(result.trace[0].confidence[0]) == pytest.approx(float(guided[result.ids[0, 2]]))


def test_nothing_given_is_one_pass() -> None:
    process = process_of("mask")
    head = OraclePredictor(JOINT)
    canvas = lay_out([Template((Hole(3),)), Template(((1,), Hole(2)))], [0, 1])
    sampler = SAMPLERS["confidence"](SAMPLERS["confidence"].Params(), process, Filters())
    guided = sample(head, sampler, canvas, steps=9, seed=0, guidance=1.0)
    assert guided.nfe.tolist() == [3, 4]
    plain = sample(OraclePredictor(JOINT), sampler, canvas, steps=9, seed=0)
    assert torch.equal(guided.ids[0], plain.ids[0])


def test_guiding_and_converting_commute() -> None:
    process = process_of("mixture")
    z = torch.tensor([[0, 3, 1], [2, 2, K], [K, K, 0]])
    t, rows = torch.full(z.shape, 0.4, dtype=torch.float64), torch.tensor([1, 2, 4, 5, 7, 8])
    given = torch.tensor([[True, False, False]] * 3)
    wants: tuple[Head, ...] = ("posterior", "leave_one_out")
    for have, want in zip(wants, wants[::-1]):
        head = oracle(process, JOINT, have)
        first = ConvertedPredictor(GuidedPredictor(head, process, given, 1.3), process, want)
        last = GuidedPredictor(ConvertedPredictor(head, process, want), process, given, 1.3)
        one, other = (p.predict(z, t, rows).log_softmax(-1) for p in (first, last))
        assert torch.allclose(one, other, atol=1e-10)


def test_a_real_model_guides_padded_canvases_in_one_batch() -> None:
    process, templates = process_of("mask"), [Template(((1, 2), Hole(3))), Template((Hole(2), (3,), Hole(6)))]
    model = small_model(K)
    assert isinstance(model.params, TransformerParams)
    sampler = SAMPLERS["ancestral"](SAMPLERS["ancestral"].Params(), process, Filters())

    def run(*numbers: int) -> list[list[int]]:
        canvas = lay_out([templates[i] for i in numbers], numbers)
        head = ModelPredictor(model, canvas.layout())
        ids = sample(head, sampler, canvas, steps=5, seed=0, guidance=3.0).ids.tolist()
        return [row[: templates[i].length] for i, row in zip(numbers, ids)]

    assert run(0, 1) == [*run(0), *run(1)]


def test_a_process_without_a_mask_token_is_refused() -> None:
    process = process_of("uniform")
    assert process.vocabulary == Vocabulary.after(K)
    with pytest.raises(PairingError, match=r"guidance 1.5 masks the given tokens.*'uniform' has no mask token; use"):
        GuidedPredictor(oracle(process, JOINT), process, torch.ones(1, 3, dtype=torch.bool), 1.5)
