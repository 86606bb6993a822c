"""Continuing prompts: batches, streams, trimming, messages."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from diffusionlm.data.batch import Batch
from diffusionlm.errors import ConfigError
from diffusionlm.generation import Frame, Generation, GenerationParams, generate
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.objective import OBJECTIVES
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.sampling import Ancestral
from diffusionlm.tokenizer import ByteTokenizer
from tests.diffusionlm.generation.scripted import ScriptedNetwork, mask_process, small_model

TOKENIZER = ByteTokenizer()
K, EOS = TOKENIZER.vocab_size, TOKENIZER.eos_id
PROCESS = mask_process(K)
SAMPLERS = [{"name": "ancestral"}, *({"name": "confidence", "order": o} for o in ("max_prob", "margin", "random"))]
PROMPTS = ["", "ab", "x = ", "", "a longer prompt"]


def params(**values: Any) -> GenerationParams:
    return GenerationParams.model_validate(values)


def scripted(text: str, values: GenerationParams, prompts: list[Any], end: bool = True) -> list[Generation]:
    target = [*TOKENIZER.encode(text), *([EOS] if end else []), *[65] * 64][:64]
    return generate(ScriptedNetwork(target, K), TOKENIZER, PROCESS, prompts, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sampler", "block_length"), list(product(SAMPLERS, [None, 4])))
def test_batch_1_equals_batch_64(sampler: dict[str, str], block_length: int | None) -> None:
    """With a real network in float64; the canvases have different paddings in each batch size."""
    model = small_model(K)
    runs = []
    for batch_size in (1, 3, 64):
        values = params(
            length=12, steps=9, sampler=sampler, block_length=block_length, batch_size=batch_size, samples=3, seed=4
        )
        runs.append(generate(model, TOKENIZER, PROCESS, PROMPTS, values))
    assert len(runs[0]) == 15
    for other in runs[1:]:
        assert [g.ids for g in other] == [g.ids for g in runs[0]]
        assert [g.nfe for g in other] == [g.nfe for g in runs[0]]
    assert len({g.ids for g in runs[0]}) > 10


def test_a_shard_gives_the_samples_of_the_whole() -> None:
    model, values = small_model(K), params(length=8, steps=5)
    whole = generate(model, TOKENIZER, PROCESS, PROMPTS, values)
    part = generate(model, TOKENIZER, PROCESS, PROMPTS[3:], values, first_sample=3)
    assert [g.ids for g in part] == [g.ids for g in whole[3:]]


def test_seeds_name_the_text() -> None:
    model = small_model(K)
    first, again, other = (generate(model, TOKENIZER, PROCESS, [""], params(seed=s)) for s in (1, 1, 2))
    assert first[0].ids == again[0].ids != other[0].ids


def test_text_is_cut_at_its_end() -> None:
    [result] = scripted("hello world", params(), ["hello"])
    assert result.text == " world"
    assert bytes(result.ids) == b" world"
    assert result.prompt_ids == tuple(b"hello")
    assert result.stopped == "eos"
    assert result.seconds > 0
    assert result.tokens_per_second == pytest.approx(7 / result.seconds)


def test_text_without_an_end_has_its_length() -> None:
    [result] = scripted("hello", params(length=7), ["he"], end=False)
    assert (result.text, result.stopped, len(result.ids)) == ("lloAAAA", "length", 7)


def test_text_that_ends_at_once_is_empty() -> None:
    [result] = scripted("hello", params(length=4), ["hello"])
    assert (result.text, result.ids, result.stopped) == ("", (), "eos")


def test_length_is_the_context_unless_told() -> None:
    [result] = scripted("", params(), ["abcd"], end=False)
    assert len(result.ids) == 60


def test_steps_beyond_tokens_cost_nothing_and_bound_the_calls() -> None:
    for steps, sampler in product((1, 3, 500), SAMPLERS):
        [result] = scripted("", params(length=5, steps=steps, sampler=sampler), [""], end=False)
        assert 1 <= result.nfe <= min(steps, 5)


def test_results_come_in_the_order_of_the_prompts() -> None:
    prompts = ["abcdef", "a", "abcd", ""]
    results = scripted("abcdefgh", params(samples=2, batch_size=3), prompts)
    assert [bytes(g.prompt_ids).decode() for g in results] == [p for p in prompts for _ in range(2)]
    assert all(bytes(g.prompt_ids).decode() + g.text == "abcdefgh" for g in results)


def test_prompts_may_be_ids_and_never_hold_special_tokens_by_accident() -> None:
    by_text = scripted("<|endoftext|> is text", params(), ["<|endoftext|>"])[0]
    assert EOS not in by_text.prompt_ids
    by_ids = scripted("<|endoftext|> is text", params(), [TOKENIZER.encode("<|endoftext|>")])[0]
    assert by_ids.text == by_text.text == " is text"


def test_no_prompts_is_no_result() -> None:
    assert scripted("", params(), []) == []


def test_the_model_comes_back_in_its_own_mode() -> None:
    model = small_model(K)
    for training in (True, False):
        model.train(training)
        generate(model, TOKENIZER, PROCESS, [""], params(length=2))
        assert model.training is training
    assert all(p.grad is None for p in model.parameters())


def test_frames_reach_the_observer() -> None:
    frames: list[Frame] = []
    generate(small_model(K), TOKENIZER, PROCESS, ["a", "b"], params(length=4, batch_size=1), observe=frames.append)
    assert sum(frame.step == -1 for frame in frames) == 2
    assert not frames[-1].noise.any()


@pytest.mark.parametrize(
    ("prompt", "values", "message"),
    [
        ("x" * 64, {}, "prompt 2 is longer than the context: 64 tokens"),
        ("x" * 60, {"length": 5}, "prompt 2 of 60 tokens and length 5 make 65"),
        ([3, K], {}, f"prompt 2 holds id {K}, which is not a token of the vocabulary"),
        ("", {"block_length": 4, "steps": 3}, "3 steps are too few for 16 blocks of 4 tokens"),
    ],
)
def test_mistakes_are_told_in_one_line(prompt: str | list[int], values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        scripted("", params(**values), ["fine", prompt])
    assert "\n" not in str(error.value)


def test_a_shifted_model_needs_a_first_token() -> None:
    network = ScriptedNetwork([66] * 64, K, shift=1)
    with pytest.raises(ConfigError, match="start the prompt or text with at least one token"):
        generate(network, TOKENIZER, PROCESS, ["A", ""], params())  # type: ignore[arg-type]
    assert generate(network, TOKENIZER, PROCESS, ["A"], params(length=3))[0].text == "BBB"  # type: ignore[arg-type]


def test_the_network_sees_a_batch_of_similar_lengths() -> None:
    network = ScriptedNetwork([66] * 64, K)
    generate(network, TOKENIZER, PROCESS, ["", "aaaa", "", "aaaa"], params(length=3, steps=1, batch_size=2))  # type: ignore[arg-type]
    assert network.batches == [2, 2]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"length": 0}, {"samples": 0}, {"lenght": 3}, {"sampler": "ddim"}])
def test_parameters_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        params(**wrong)


def test_without_a_name_the_sampler_is_the_one_of_the_process() -> None:
    assert params(sampler={}).sampler is None
    assert isinstance(params().build_sampler(PROCESS), Ancestral)
    assert params(sampler={"name": "confidence"}).sampler.order == "max_prob"


@pytest.mark.parametrize("objective", ["ce", "llada", "nelbo"])
def test_an_overfitted_sequence_is_decoded_exactly(objective: str) -> None:
    """A network, trained on one text as training does, must write that text: catches a wrong shift or alignment.

    Its first token is given: with relative positions alone, all positions of an empty canvas look alike to a network.
    """
    text = "def mean(xs): return sum(xs)"
    x_1 = torch.tensor([[*TOKENIZER.encode(text), EOS]]).expand(8, -1)
    position, sample = torch.arange(x_1.shape[1]).expand_as(x_1), torch.arange(8)[:, None].expand_as(x_1)
    zeros = torch.zeros_like(x_1)
    rows = Batch(x_1, zeros + 1, position, document=sample, window=zeros, frozen=position == 0)
    model = build_model(TransformerParams(layers=2, width=32, heads=4, context_length=32), PROCESS.vocabulary, 0)
    made = OBJECTIVES.build(OBJECTIVES[objective].Params(), PROCESS)
    model.kind = made.network_head
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(400):
        prepared = prepare(made, rows, 0, step, torch.arange(8), 8)
        optimizer.zero_grad()
        (loss_sum(model, prepared).total / prepared.denominator).backward()
        optimizer.step()
    for sampler in SAMPLERS:
        for prompt in ("d", "def mean"):
            values = params(sampler=sampler, steps=6, temperature=0.0, length=x_1.shape[1] - len(prompt))
            [result] = generate(model, TOKENIZER, PROCESS, [prompt], values)
            assert (prompt + result.text, result.stopped) == (text, "eos")


def test_a_real_network_never_emits_noise() -> None:
    model = small_model(K)
    values = params(length=10, steps=2, temperature=5.0, samples=20, batch_size=20)
    for result in generate(model, TOKENIZER, PROCESS, [""], values):
        assert all(0 <= i < K for i in result.ids)
    assert torch.is_grad_enabled()
