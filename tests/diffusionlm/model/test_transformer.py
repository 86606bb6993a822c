"""The Transformer against a textbook one, and what packing, padding, direction and time do and do not change."""

from __future__ import annotations

import math

import pytest
import torch

from diffusionlm.model.transformer import build_model
from diffusionlm.process import Layout, Vocabulary
from tests.diffusionlm.model.networks import VOCABULARY, K, network, params, plain_forward, tokens

SHAPES: list[dict[str, object]] = [
    {},
    {"tied": True},
    {"kv_heads": 2},
    {"kv_heads": 1, "qk_norm": True},
    {"activation": "relu2", "qkv_bias": True},
    {"head_width": 6, "hidden": 20, "rope_theta": 100.0, "causal": True},
]
SEGMENTS = torch.tensor([[1] * 5 + [2] * 4 + [3] * 3, [1] * 2 + [2] * 7 + [0] * 3, [1] * 12])
POSITIONS = torch.tensor(
    [[*range(5), *range(4), *range(3)], [*range(2), *range(7), 0, 0, 0], [*range(12)]], dtype=torch.int64
)
PACKED = Layout(segments=SEGMENTS, positions=POSITIONS)
TIMES = torch.tensor([[0.1] * 5 + [0.8] * 7, [0.3] * 12, [0.9] * 12], dtype=torch.float64)


def logits(model, x_t, layout=None, t=None):
    return model.logits(model(x_t, t, layout or Layout()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("packed", [False, True])
def test_it_is_the_textbook_network(shape, packed):
    model, x_t = network(**shape), tokens()
    layout = PACKED if packed else Layout()
    positions = POSITIONS if packed else torch.arange(12).expand(3, 12)
    allowed = SEGMENTS[:, :, None] == SEGMENTS[:, None] if packed else torch.ones(3, 12, 12, dtype=torch.bool)
    if model.params.causal:
        allowed = allowed & torch.ones(12, 12, dtype=torch.bool).tril()
    expected = plain_forward(model, x_t, allowed, positions)
    made = logits(model, x_t, layout)
    assert made.shape == (3, 12, K)
    assert torch.allclose(made, expected, atol=1e-10)
    generator = torch.Generator().manual_seed(3)
    upstream = torch.randn(made.shape, generator=generator, dtype=torch.float64)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(made, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [{}, {"causal": True}, {"time_conditioning": True}, {"shift": 1}], ids=str)
def test_packed_documents_equal_documents_alone(shape, dtype):
    model, x_t = network(dtype=dtype, **shape), tokens()
    packed = logits(model, x_t, PACKED, TIMES)
    for row in range(3):
        for segment in range(1, int(SEGMENTS[row].max()) + 1):
            here = SEGMENTS[row] == segment
            alone = logits(model, x_t[row][here][None], Layout(), TIMES[row][here][None])
            # With shift 1 the first token of a document is given (a BOS): nothing inside the document predicts it.
            begin = model.params.shift
            assert torch.allclose(packed[row][here][begin:], alone[0][begin:], atol=1e-5)


@pytest.mark.parametrize("row", [0, 1])
def test_nothing_leaks_between_documents_or_out_of_padding(row):
    model, x_t = network(), tokens()
    for segment in range(int(SEGMENTS[row].max()) + 1):
        here = SEGMENTS[row] == segment
        changed = x_t.clone()
        changed[row][here] = (changed[row][here] + 1) % K
        difference = (logits(model, x_t, PACKED) - logits(model, changed, PACKED))[row].abs().amax(-1)
        assert float(difference[~here].max()) == 0.0
        assert not bool(here.any()) or float(difference[here].min()) > 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("padding", [1, 5, 12])
def test_the_amount_of_padding_never_matters(padding, dtype):
    model, x_t = network(dtype=dtype), tokens(length=12)
    ones = torch.ones_like(x_t)
    alone = logits(model, x_t, Layout(segments=ones))
    filler = torch.full((3, padding), 3)
    for where in ("right", "left"):
        order = [0, 1] if where == "right" else [1, 0]
        columns = [(x_t, filler), (ones, filler * 0), (torch.arange(12).expand(3, 12), filler * 0)]
        z, segments, positions = (torch.cat([pair[i] for i in order], 1) for pair in columns)
        padded = logits(model, z, Layout(segments=segments, positions=positions))
        kept = padded[:, :12] if where == "right" else padded[:, padding:]
        assert torch.allclose(kept.float(), alone.float(), atol=1e-5 if dtype == torch.float32 else 0.15)


def test_a_row_does_not_depend_on_its_batch():
    model, x_t = network(), tokens(rows=6)
    whole = logits(model, x_t)
    assert torch.allclose(logits(model, x_t[2:3]), whole[2:3], atol=1e-12)
    assert torch.allclose(logits(model, x_t.flip(0)), whole.flip(0), atol=1e-12)


def test_causal_sees_no_later_token_and_bidirectional_sees_both_sides():
    x_t, place = tokens(rows=1), 6
    changed = x_t.clone()
    changed[0, place] = (changed[0, place] + 1) % K
    for causal in (False, True):
        model = network(causal=causal)
        difference = (logits(model, x_t) - logits(model, changed))[0].abs().amax(-1)
        assert bool((difference[place:] > 0).all())
        assert bool((difference[:place] == 0).all()) == causal
        assert causal or bool((difference[:place] > 0).all())


def test_the_layout_can_ask_for_causal_attention():
    x_t = tokens()
    bidirectional, causal = network(), network(causal=True)
    assert torch.equal(logits(bidirectional, x_t, Layout(causal=True)), logits(causal, x_t))
    assert not torch.allclose(logits(bidirectional, x_t), logits(causal, x_t))


def test_the_order_of_tokens_matters():
    model, x_t = network(), tokens(rows=1)
    mixed = logits(model, x_t[:, torch.randperm(12, generator=torch.Generator().manual_seed(0))])
    assert not torch.allclose(mixed.sort(1).values, logits(model, x_t).sort(1).values, atol=1e-3)


def test_positions_not_places_are_what_attention_sees():
    model, x_t = network(), tokens(rows=1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    mixed = logits(model, x_t[:, order], Layout(positions=order[None]))
    assert torch.allclose(mixed, logits(model, x_t)[:, order], atol=1e-10)
    moved = logits(model, x_t, Layout(positions=torch.arange(12)[None] + 100))
    assert torch.allclose(moved, logits(model, x_t), atol=1e-8)


@pytest.mark.parametrize("shape", [{}, {"shift": 1}, {"time_conditioning": True}, {"layers": 1}], ids=str)
def test_gathered_rows_are_those_of_the_full_pass(shape):
    model, x_t = network(**shape), tokens()
    whole = model(x_t, TIMES, PACKED)
    rows = torch.tensor([1, 35, 17, 17, 4])
    assert torch.allclose(model(x_t, TIMES, PACKED, rows), whole.flatten(0, 1)[rows], atol=1e-12)
    assert model(x_t, TIMES, PACKED, rows[:0]).shape == (0, 32)


def test_shift_reads_the_state_before():
    shifted, straight, x_t = network(shift=1), network(), tokens()
    assert torch.equal(shifted(x_t, None, Layout())[:, 1:], straight(x_t, None, Layout())[:, :-1])


def test_time_conditioning_is_nothing_at_first_and_something_after_training():
    model = build_model(params(time_conditioning=True), VOCABULARY, 0).double()
    model.compute_dtype = torch.float64
    x_t = tokens()
    early, late = (torch.full((3, 12), t, dtype=torch.float64) for t in (0.1, 0.9))
    assert torch.equal(logits(model, x_t, t=early), logits(model, x_t, t=late))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(model, x_t, t=early).flatten(0, 1), x_t.flatten() % K)
        loss = loss - torch.nn.functional.cross_entropy(logits(model, x_t, t=late).flatten(0, 1), x_t.flatten() % K)
        loss.backward()
        optimizer.step()
    assert not torch.allclose(logits(model, x_t, t=early), logits(model, x_t, t=late), atol=1e-6)
    with pytest.raises(ValueError, match="no t was given"):
        logits(model, x_t)


def test_without_conditioning_time_is_ignored():
    model, x_t = network(), tokens()
    assert torch.equal(logits(model, x_t, t=TIMES), logits(model, x_t))


def test_dropout_acts_in_training_alone():
    model, x_t = network(dropout=0.3), tokens()
    assert torch.equal(logits(model, x_t), logits(network(), x_t))
    model.train()
    assert not torch.allclose(logits(model, x_t), logits(model, x_t))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_gradient_checkpointing_gives_equal_gradients(dropout):
    x_t, found = tokens(), []
    rows = torch.tensor([3, 8, 20])
    for checkpointing in (False, True):
        model = network(dropout=dropout, time_conditioning=True).train()
        model.gradient_checkpointing = checkpointing
        torch.manual_seed(5)
        model(x_t, TIMES, PACKED, rows).square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES, {"time_conditioning": True}], ids=str)
def test_every_parameter_has_a_role_and_a_gradient(shape):
    model = network(**shape)
    roles = model.parameter_roles()
    assert list(roles) == [name for name, _ in model.named_parameters()]
    assert roles["embedding"] == "embedding"
    assert ("head.weight" in roles) == (not model.params.tied)
    for name, parameter in model.named_parameters():
        assert (roles[name] == "vector") == (parameter.dim() == 1)
    logits(model, tokens(), PACKED, TIMES).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in model.parameters())


def test_a_tied_head_is_one_parameter():
    model = network(tied=True)
    assert model.head is None
    assert model.head_weight.data_ptr() == model.embedding.data_ptr()
    assert model.head_weight.shape == (K, 32)


def test_unused_rows_and_the_mask_have_no_logit():
    model = build_model(params(), Vocabulary(size=K, mask_id=K + 4, rows=K + 7), 0)
    assert model.embedding.shape[0] == K + 7
    assert logits(model, torch.full((1, 3), K + 4)).shape == (1, 3, K)


def test_a_network_is_a_function_of_its_seed():
    def weights(seed):
        torch.rand(seed + 1)
        return build_model(params(time_conditioning=True), VOCABULARY, seed).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])
    assert all(value.dtype == torch.float32 for value in first.values())


@pytest.mark.parametrize("tied", [False, True])
def test_initial_variances(tied):
    width, layers = 256, 4
    model = build_model(params(width=width, heads=4, layers=layers, tied=tied), Vocabulary.after(500), 0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert bool((parameter == (1 if "norm" in name else 0)).all())
            continue
        std = 1 / math.sqrt(parameter.shape[1])
        if name.endswith(("attention.o.weight", "feedforward.down.weight")):
            std /= math.sqrt(2 * layers)
        if name == "embedding":
            std = 1 / math.sqrt(width) if tied else 1.0
        if name == "head.weight":
            std = 1 / width
        assert float(parameter.std()) == pytest.approx(std, rel=0.03), name
        assert abs(float(parameter.mean())) < 0.02 * std * 3


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("width", [32, 256])
def test_the_first_loss_is_that_of_guessing(tied, width):
    """ln K at the masked positions, where a fresh network knows nothing."""
    vocabulary = Vocabulary.after(1000)
    model = build_model(params(width=width, tied=tied), vocabulary, 0)
    x = torch.randint(0, 1000, (8, 24), generator=torch.Generator().manual_seed(0))
    masked = torch.rand(8, 24, generator=torch.Generator().manual_seed(1)) < 0.5
    out = logits(model, torch.where(masked, vocabulary.mask_id, x))
    loss = float(torch.nn.functional.cross_entropy(out[masked], x[masked]))
    assert loss == pytest.approx(math.log(1000), abs=0.6 if tied else 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [{}, {"kv_heads": 2, "qk_norm": True, "time_conditioning": True}], ids=str)
def test_compiled_equals_eager(shape):
    x_t, rows = tokens(), torch.tensor([3, 8, 20])
    eager, compiled = network(**shape), torch.compile(network(**shape), dynamic=True)
    found = []
    for model in (eager, compiled):
        out = model(x_t, TIMES, PACKED, rows)  # pyright: ignore[reportCallIssue]
        out.square().sum().backward()
        parameters = dict(model.named_parameters()).values()  # pyright: ignore[reportAttributeAccessIssue]
        found.append((out, [p.grad for p in parameters if p.grad is not None]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-9)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-8)
