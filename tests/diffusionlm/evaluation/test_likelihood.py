"""The evaluator: unbiased, independent of batch size and packing, exact about what it counts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusionlm.data.batch import Batch
from diffusionlm.errors import DataError, PairingError
from diffusionlm.evaluation import likelihood, score_windows
from diffusionlm.evaluation.likelihood import noise_levels
from diffusionlm.model.params import TransformerParams
from diffusionlm.model.transformer import build_model
from diffusionlm.process import PROCESSES, Head, Layout, MaskProcess, Vocabulary
from tests.oracle.joint import OracleModel, random_joint
from tests.oracle.noises import discrete_evidence

K = 11
LENGTHS = np.arange(K, dtype=np.int64) % 3  # token 0 (the end of a document) and every third stand for no byte
PROCESS = PROCESSES.build(PROCESSES["mask"].Params(), Vocabulary.after(K))


class UniformModel:
    """Predicts 1/K everywhere and counts its calls."""

    training = True
    kind: Head = "posterior"
    head_weight = torch.zeros(K, 2)

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0

    def train(self, mode: bool = True):
        self.training = mode
        return self

    def __call__(self, x_t, t, layout: Layout, rows=None):
        assert not self.training
        assert rows is not None
        assert bool((x_t.flatten()[rows] == K).all()), "only masked positions go to the head"
        self.calls += 1
        self.rows += len(x_t)
        return torch.zeros(len(rows), 2)


def rows(number: int, length: int, seed: int = 0, first: int = 0) -> Batch:
    """Return rows of random tokens, each one window of a document of its own; the last quarter is padding."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(1, K, (number, length), generator=generator)
    position = torch.arange(length).expand_as(x)
    segments = (position < length - length // 4).long()
    document = torch.arange(first, first + number)[:, None].expand_as(x)
    return Batch(x, segments, position, document, torch.zeros_like(x), torch.zeros_like(x, dtype=torch.bool))


def transformer():
    return build_model(
        TransformerParams(layers=1, width=16, heads=2, hidden=32, context_length=32, time_conditioning=True),
        Vocabulary.after(K),
        seed=0,
    )


def score(model, batches, **changes):
    arguments = {"draws": 4, "seed": 0, **changes}
    return score_windows(model, PROCESS, batches, LENGTHS, **arguments)


def test_a_uniform_head_costs_ln_k_per_token_with_exact_counts():
    """With n of L masked and weight L/n every window costs exactly L ln K, whatever n: no noise is left."""
    batch = rows(5, 16)
    report = likelihood(UniformModel(), PROCESS, [batch], LENGTHS, draws=3, seed=1)
    assert report.nats_per_token == pytest.approx(math.log(K), abs=1e-6)
    assert report.bits_per_token == pytest.approx(math.log2(K), abs=1e-6)
    assert report.tokens == 5 * 12
    size = int(LENGTHS[batch.x_1[:, :12].numpy()].sum())
    assert report.bytes == size
    assert report.bits_per_byte == pytest.approx(math.log2(K) * 60 / size, abs=1e-6)
    assert report.noise_error == pytest.approx(0.0, abs=1e-9)
    assert (report.documents, report.windows, report.draws) == (5, 5, 3)


def test_a_uniform_head_costs_ln_k_per_token_with_bernoulli_noise_within_its_error():
    report = likelihood(UniformModel(), PROCESS, [rows(400, 16)], LENGTHS, draws=4, seed=1, estimator="bernoulli")
    assert report.nats_per_token_error is not None
    assert 0 < report.nats_per_token_error < 0.1
    assert abs(report.nats_per_token - math.log(K)) < 4 * report.nats_per_token_error


def test_network_evaluations_are_counted():
    model = UniformModel()
    seen = []
    report = likelihood(
        model, PROCESS, [rows(5, 8), rows(3, 8, first=5)], LENGTHS, draws=3, seed=1, on_rows=seen.append
    )
    assert model.calls == 6
    assert report.network_evaluations == model.rows == 24
    assert seen == [15, 9]


def test_the_value_does_not_depend_on_the_batch_size():
    model, whole = transformer(), rows(64, 12)
    reference = score(model, [whole])
    for size in (1, 7, 64):
        cut = score(model, [whole.rows(i, i + size) for i in range(0, 64, size)])
        assert np.array_equal(cut.document, reference.document)
        np.testing.assert_allclose(cut.nats, reference.nats, rtol=2e-5)
    backwards = score(model, [whole.rows(i, i + 8) for i in range(56, -1, -8)])
    np.testing.assert_allclose(backwards.nats[:, np.argsort(backwards.document)], reference.nats, rtol=2e-5)


def test_packing_does_not_change_the_value():
    """Two documents in one row, or in two rows: the same windows, levels, noise and values."""
    model = transformer()
    apart = rows(2, 8)
    keep = apart.segments > 0  # 6 tokens each

    def joined(values: torch.Tensor) -> torch.Tensor:
        return values[keep][None]

    segments = torch.tensor([[1] * 6 + [2] * 6])
    packed = replace(
        Batch(*(joined(vars(apart)[name]) for name in vars(apart))),
        segments=segments,
    )
    a, b = score(model, [apart]), score(model, [packed])
    assert np.array_equal(a.document, b.document)
    assert np.array_equal(a.tokens, b.tokens)
    np.testing.assert_allclose(a.nats, b.nats, rtol=1e-4)


def test_padding_does_not_change_the_value():
    model, batch = transformer(), rows(4, 16)
    cut = Batch(*(vars(batch)[name][:, :12] for name in vars(batch)))
    np.testing.assert_allclose(score(model, [batch]).nats, score(model, [cut]).nats, rtol=1e-4)


def test_frozen_tokens_are_context_not_score():
    batch = rows(3, 8)
    frozen = batch.frozen.clone()
    frozen[:, :4] = True
    scores = score(UniformModel(), [replace(batch, frozen=frozen)])
    assert scores.tokens.tolist() == [2, 2, 2]
    assert scores.bytes.tolist() == LENGTHS[batch.x_1[:, 4:6].numpy()].sum(1).tolist()


def test_a_seed_is_a_value_and_another_seed_another():
    model, batch = transformer(), rows(16, 12)
    first = score(model, [batch], seed=1).nats
    assert np.array_equal(first, score(model, [batch], seed=1).nats)
    assert not np.array_equal(first, score(model, [batch], seed=2).nats)


def test_torch_generators_are_left_alone():
    """Validation between two training steps must not change what training draws next."""
    model = transformer()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    score(model, [rows(4, 8)])
    assert torch.equal(torch.rand(3), expected)


def test_the_models_mode_comes_back():
    for mode in (True, False):
        model = transformer().train(mode)
        score(model, [rows(2, 8)])
        assert model.training is mode


def test_no_gradients_are_kept():
    model = transformer()
    score(model, [rows(2, 8)])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_levels_are_stratified_over_draws_and_spread_over_documents():
    batch = rows(256, 4)
    levels = torch.stack([noise_levels(batch, None, j, 8, seed=3)[:, 0] for j in range(8)])  # (8, 256)
    assert float(levels.min()) >= 0
    assert float(levels.max()) < 1
    # Each window: one level in every eighth of the unit interval.
    assert torch.equal(
        (levels * 8).floor().sort(0).values, torch.arange(8.0, dtype=torch.float64)[:, None].expand(8, 256)
    )
    # Each draw: 256 documents fill 16 bins evenly.
    counts = torch.histc(levels[0].float(), 16, 0, 1)
    assert counts.min() >= 14
    assert counts.max() <= 18
    assert not torch.equal(noise_levels(batch, None, 0, 8, seed=4), noise_levels(batch, None, 0, 8, seed=3))


def test_exact_counts_have_the_lower_variance():
    model, batch = transformer(), rows(64, 12)
    variances = {
        estimator: float(score(model, [batch], draws=16, estimator=estimator).nats.var(axis=0).mean())
        for estimator in ("exact_count", "bernoulli")
    }
    assert variances["exact_count"] < 0.5 * variances["bernoulli"]


def test_bernoulli_and_exact_count_agree():
    model, batch = transformer(), rows(32, 12)
    a, b = (score(model, [batch], draws=64, estimator=e).nats.mean(0) for e in ("exact_count", "bernoulli"))
    difference = a - b
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / math.sqrt(difference.size)


def test_a_process_without_a_bound_is_refused():
    class Boundless(MaskProcess):
        bound = "none"

    process = Boundless(PROCESSES["mask"].Params(), Vocabulary.after(K))
    with pytest.raises(PairingError, match="process 'mask' has no likelihood bound"):
        score_windows(UniformModel(), process, [rows(1, 4)], LENGTHS, draws=1, seed=0)


def test_nothing_to_score_is_refused():
    empty = replace(rows(2, 8), segments=torch.zeros(2, 8, dtype=torch.int64))
    for batches in ([], [empty]):
        with pytest.raises(DataError, match="there is nothing to score"):
            score(UniformModel(), batches)
    ends = replace(rows(2, 8), x_1=torch.zeros(2, 8, dtype=torch.int64))
    with pytest.raises(DataError, match="stands for no bytes"):
        likelihood(UniformModel(), PROCESS, [ends], LENGTHS, draws=1, seed=0)


def test_real_rows_cover_every_token_and_byte_of_the_documents():
    """From text through tokenizer, store and in-order rows: tokens and bytes are those of the documents."""
    from diffusionlm.data.store import TokenStore
    from diffusionlm.tokenizer import ByteTokenizer, build_tokenizer
    from diffusionlm.tokenizer.byte import ByteParams

    tokenizer = build_tokenizer(ByteParams())
    assert isinstance(tokenizer, ByteTokenizer)
    texts = ["naïve café", "x" * 37, "def f():\n    return 1\n", "日本語"]
    arrays = [np.array([*tokenizer.encode(text), tokenizer.eos_id], dtype=np.uint16) for text in texts]
    lengths = np.array([len(a) for a in arrays], dtype=np.int64)
    store = TokenStore(
        [np.concatenate(arrays)],
        np.concatenate(([0], np.cumsum(lengths)[:-1])),
        lengths,
        np.array([len(text.encode()) for text in texts], dtype=np.int64),
        np.zeros(len(texts), dtype=np.uint64),
        eos_id=tokenizer.eos_id,
        tokenizer_fingerprint=tokenizer.fingerprint(),
    )
    from diffusionlm.data.rows import RowLoader

    process = PROCESSES.build(PROCESSES["mask"].Params(), Vocabulary.after(tokenizer.vocab_size))
    model = build_model(
        TransformerParams(layers=1, width=16, heads=2, hidden=32, context_length=16), process.vocabulary, seed=0
    )
    for packing in ("packed", "one_per_row"):
        loader = RowLoader(store, 16, packing=packing)
        batches = [loader.in_order(np.arange(i, i + 1)) for i in range(loader.rows_in_order)]
        report = likelihood(model, process, batches, tokenizer.byte_lengths(), draws=2, seed=0)
        assert report.documents == len(texts)
        assert report.tokens == store.n_tokens
        assert report.bytes == store.n_bytes
        # An untrained head is near uniform, whatever the packing.
        assert report.bits_per_token == pytest.approx(math.log2(tokenizer.vocab_size), rel=0.05)


class TestWhichBound:
    """On a joint with the exact head of either kind: the tight bound is the entropy, the loose one lies above it."""

    def report(self, name: str, head: Head, bound: str):
        joint = random_joint(3, 2, seed=0)
        process = PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(3))
        x = joint.sequences().repeat_interleave((joint.flat() * 1500).round().long(), 0)
        index = torch.arange(len(x))[:, None].expand_as(x)
        ones = torch.ones_like(x)
        batch = Batch(x, ones, torch.arange(2).expand_as(x), index, ones * 0, ones.bool() & False)
        model = OracleModel(joint, discrete_evidence(process, joint), head)
        given = {"draws": 8, "seed": 0, "bound": bound}
        return likelihood(model, process, [batch], LENGTHS, **given), joint.entropy() / 2

    @pytest.mark.parametrize("name", ["mask", "uniform", "mixture", "gidd"])
    def test_the_head_is_converted_for_the_tight_bound(self, name):
        found = []
        for head in ("posterior", "leave_one_out"):
            report, entropy = self.report(name, head, "nelbo")
            assert abs(report.nats_per_token - entropy) < 4 * report.nats_per_token_error < 0.3 * entropy
            found.append(report.nats_per_token)
        assert found[0] == pytest.approx(found[1], rel=1e-9)

    def test_the_loose_bound_is_loose(self):
        values = []
        for head in ("posterior", "leave_one_out"):
            report, entropy = self.report("uniform", head, "gkl")
            assert report.nats_per_token > entropy + 4 * report.nats_per_token_error
            values.append(report.nats_per_token)
        assert values[0] == pytest.approx(values[1], rel=1e-9)

    def test_for_mask_noise_the_two_are_one(self):
        one, other = (self.report("mask", "posterior", bound)[0].nats_per_token for bound in ("gkl", "nelbo"))
        assert one == other

    def test_the_report_says_which_it_is(self):
        process = PROCESSES.build(PROCESSES["uniform"].Params(), Vocabulary.after(K))
        for bound, tightness in (("nelbo", "tight"), ("gkl", "loose")):
            model = transformer()
            report = likelihood(model, process, [rows(2, 8)], LENGTHS, draws=2, seed=0, bound=bound)
            assert (report.bound, report.bound_name, report.estimator) == (tightness, bound, "exact_count")

    def test_noise_that_changes_its_kind_has_no_generalised_kl(self):
        process = PROCESSES.build(PROCESSES["gidd"].Params(), Vocabulary.after(K))
        with pytest.raises(PairingError, match="whose kind never changes"):
            likelihood(transformer(), process, [rows(2, 8)], LENGTHS, draws=2, seed=0, bound="gkl")
