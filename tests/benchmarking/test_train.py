"""The training bench at tiny shapes: equal work, honest fields, one JSON line, rows in a file."""

import json
import math
import sys

import pytest
import torch

from benchmarking.rows import TrainRow, columns, read
from benchmarking.train import OURS, RIVAL, bench_train
from benchmarking.train_step import FlowLM, Rival, check_rival, check_start, qwen3, random_batch, random_tokens
from diffusionlm.errors import ConfigError, DataError
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.process import Layout, Vocabulary
from diffusionlm.workflows.params import BenchTrainParams

TINY = {"layers": 2, "width": 32, "heads": 2, "hidden": 64, "context_length": 16}


def params(model=None, **values):
    values = {"vocabulary": 50, "batch_size": 4, "warmup": 0, "repeats": 2, "threads": 1, "device": "cpu"} | values
    return BenchTrainParams(model=TransformerParams(**TINY | (model or {})), **values)


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def test_both_contenders_and_what_is_kept(one_process, transformers, tmp_path, capsys):
    path = tmp_path / "step.csv"
    result = bench_train(params(output=path))
    assert list(result.measured) == [OURS, RIVAL]
    ours, rival = result.rows
    assert read(path)[0].contender == OURS
    assert [row.contender for row in read(path)] == [OURS, RIVAL]
    # Every weight of ours, and one more row of the rival's head.
    assert rival.parameters == ours.parameters + 32
    for row in result.rows:
        facts = result.measured[row.contender].facts
        assert facts["first_loss"] == pytest.approx(math.log(50), rel=0.1)
        assert math.isfinite(facts["last_loss"])
        assert row.tokens_per_second == pytest.approx(64 / row.p50_ms * 1000)
        assert row.share == pytest.approx(row.gflop / row.p50_ms * 1000 / 100)
    assert ours.gflop < result.dense_gflop < rival.gflop
    assert ours.ratio_p20 <= ours.ratio_p50 <= ours.ratio_p80
    assert (rival.ratio_p20, rival.ratio_p50, rival.ratio_p80) == (None, None, None)
    assert "tokens/s" in capsys.readouterr().err

    line = result.report()
    assert "\n" not in line
    assert set(json.loads(line)["contenders"][RIVAL]) == {
        *columns(TrainRow),
        "first_loss",
        "last_loss",
        "scored",
        "flops",
    }


@pytest.mark.slow
def test_in_processes_of_their_own(transformers):
    """The command's real way: the ceiling, and each contender in its own process."""
    result = bench_train(params())
    for row in result.rows:
        assert row.peak_mb > row.base_mb > 0
        assert (row.threads, row.ceiling_gflops > 1) == (1, True)
    assert result.rows[0].ratio_p50 > 0


def test_alone_and_in_bf16(one_process):
    result = bench_train(params(rival=False, precision="bf16", repeats=1))
    (row,) = result.rows
    assert (row.contender, row.precision, row.ratio_p50) == (OURS, "bf16", None)
    assert "transformers" not in result.card()


def test_a_file_of_another_kind_is_refused_before_anything_runs(tmp_path, monkeypatch):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n")
    monkeypatch.setattr("benchmarking.train.in_turns", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(DataError, match="name another file"):
        bench_train(params(output=path))


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"not installed; install the dev group .* rival=false") as caught:
        bench_train(params())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [{"activation": "relu2"}, {"causal": True}, {"dropout": 0.1}, {"shift": 1}])
def test_a_shape_that_the_rival_cannot_have(model, transformers):
    with pytest.raises(ConfigError, match=rf"model\.{next(iter(model))}.*rival=false"):
        check_rival(TransformerParams(**TINY | model))


@pytest.mark.parametrize("model", [{}, {"qk_norm": True}, {"kv_heads": 1}])
def test_the_two_networks_are_one_function(model, transformers):
    """With our weights in it, the rival's network computes our states: same work, not merely similar work."""
    shape = TransformerParams(**TINY | model)
    ours = build_model(shape, Vocabulary.after(50), 0).eval()
    theirs = qwen3(shape, 51).eval()
    renamed = {
        "embedding": "embed_tokens.weight",
        "blocks.": "layers.",
        "attention_norm": "input_layernorm",
        "feedforward_norm": "post_attention_layernorm",
        "feedforward.": "mlp.",
        "attention.": "self_attn.",
    }
    weights = {}
    for name, value in ours.state_dict().items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        if not name.startswith("head"):
            for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"):
                name = name.replace(f"{part}.weight", f"{part}_proj.weight")
            weights[name] = value
    theirs.load_state_dict(weights)
    x = torch.randint(51, (3, 16))
    with torch.no_grad():
        expected = theirs(input_ids=x, attention_mask={"full_attention": None}, use_cache=False).last_hidden_state
        torch.testing.assert_close(ours(x, None, Layout()), expected, atol=1e-5, rtol=1e-5)


def test_both_learn(transformers):
    """On tokens that are always the same, a few steps bring both losses down."""
    for contender in (FlowLM, Rival):
        made = contender(params(repeats=1, objective={"name": "ce"}), "cpu")
        made.prepare(0)
        fixed = random_tokens(params(), 0)
        for _ in range(12):
            made.x_1 = fixed
            made.run()
        assert float(made.facts()["last_loss"]) != made.first
        weight = made.model.head_weight if contender is FlowLM else made.head.weight
        assert torch.isfinite(weight).all()


def test_a_start_that_is_not_ignorance_is_caught():
    check_start(math.log(50) * 1.05, 50, "x")
    with pytest.raises(AssertionError, match="x starts at"):
        check_start(math.log(50) * 0.8, 50, "x")


def test_rounds_differ_and_repeat():
    assert torch.equal(random_tokens(params(), 3), random_tokens(params(), 3))
    assert not torch.equal(random_tokens(params(), 3), random_tokens(params(), 4))
    batch = random_batch(params(), 2)
    assert batch.document[:, 0].tolist() == [8, 9, 10, 11]
    assert bool(batch.editable.all())
