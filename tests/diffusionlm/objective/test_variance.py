"""The spread of the loss over noise levels against enumeration, and the laws of times that follow from it."""

import pytest
import torch

from diffusionlm.objective import NELBO
from diffusionlm.objective.engine import loss_sum, prepare
from diffusionlm.objective.nelbo import NELBOParams
from diffusionlm.objective.variance import Spread, found_in, measure_spread, search_times, with_found
from diffusionlm.process import PROCESSES, MaskProcess, TimesParams, Vocabulary
from diffusionlm.process.mask import MaskParams
from tests.diffusionlm.model.networks import K, network
from tests.diffusionlm.process.batches import lay_rows, random_documents
from tests.oracle.joint import OracleModel, OraclePredictor, gauss_legendre, random_joint

JOINT = random_joint(3, 3, seed=0)


def objective(times: TimesParams | None = None, process: type[MaskProcess] = MaskProcess) -> NELBO:
    params = NELBOParams(times=times or TimesParams(epsilon=0.05))
    return NELBO(params, process(MaskParams(), Vocabulary.after(JOINT.vocabulary)))


def sequences(number: int):
    counts = (JOINT.flat() * number).round().long()
    x = JOINT.sequences().repeat_interleave(counts, 0)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    return lay_rows([[(i, row)] for i, row in enumerate(x.tolist())], JOINT.length), counts.double() / counts.sum()


def exact_moments(weights: torch.Tensor, low: float, high: float) -> tuple[float, float]:
    """Return E[ℓ] and E[ℓ²] of the bound with the exact head, t uniform on [low, high], over all masks."""
    x, oracle, length = JOINT.sequences(), OraclePredictor(JOINT), JOINT.length
    nodes, share = gauss_legendre(40)
    t = low + (high - low) * nodes
    first, second = torch.zeros_like(t), torch.zeros_like(t)
    for m in range(2**length):
        masked = torch.tensor([bool(m >> i & 1) for i in range(length)])
        z = torch.where(masked, torch.full_like(x, JOINT.mask_id), x)
        ce = -(oracle.probabilities(z).gather(-1, x[..., None])[..., 0].log() * masked).sum(-1) / length
        n = int(masked.sum())
        chance = (1 - t) ** n * t ** (length - n)
        first += chance / (1 - t) * (weights * ce).sum()
        second += chance / (1 - t) ** 2 * (weights * ce**2).sum()
    return float((share * first).sum()), float((share * second).sum())


def test_the_moments_are_those_of_enumeration():
    batch, weights = sequences(20_000)
    spread = measure_spread(
        objective(), OracleModel(JOINT), [batch.rows(0, 7000), batch.rows(7000, len(batch))], seed=0, step=3, bins=4
    )
    for k in range(4):
        mean, square = exact_moments(weights, k / 4, min((k + 1) / 4, 0.95) if k < 3 else 0.95)
        if k < 3:  # the last bin is clipped at 0.95, where a fifth of it piles up
            assert spread.mean[k] == pytest.approx(mean, rel=0.03)
            assert spread.square[k] == pytest.approx(square, rel=0.06)
    assert spread.square[3] > spread.square[0]


SPREAD = Spread((0.0, 1.0), (1.0, 1.0, 1.0, 3.0), (1.5, 2.0, 4.0, 18.0))


def test_the_variance_of_a_range():
    assert SPREAD.variance(0.0, 1.0) == pytest.approx(25.5 / 4 - 1.5**2)
    assert SPREAD.variance(0.25, 0.75) == pytest.approx(3.0 - 1.0)
    assert SPREAD.variance(0.0, 0.375) == pytest.approx((2 * 1.5 + 2.0) / 3 - 1.0)
    assert SPREAD.best_range([(0.0, 1.0), (0.25, 0.75), (0.0, 0.5)]) == (0.0, 0.5)


def test_the_density_is_the_root_mean_square_and_nothing_is_better():
    density = SPREAD.density()
    rms = [s**0.5 for s in SPREAD.square]
    assert density == pytest.approx([4 * r / sum(rms) for r in rms])
    least = SPREAD.importance_variance(density)
    assert SPREAD.importance_variance((1.0, 1.0, 1.0, 1.0)) == pytest.approx(SPREAD.variance(0.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        other = (torch.tensor(density) * (0.3 * torch.randn(4, generator=generator)).exp()).tolist()
        assert SPREAD.importance_variance(other) > least
    assert Spread((0.0, 1.0), (0.0,) * 4, (0.0,) * 4).density() == (1.0,) * 4
    assert min(Spread((0.0, 1.0), (0.0,) * 4, (0.0, 1.0, 1.0, 1.0)).density()) == 0.05


def document_losses(made: NELBO) -> torch.Tensor:
    """Return the weighted loss of many documents, per token, each at a time of its own."""
    batch, _ = sequences(20_000)
    part = prepare(made, batch, 11, 0, torch.arange(len(batch)), len(batch))
    (one,), values = part.passes, loss_sum(OracleModel(JOINT), part).values
    losses = torch.zeros(len(batch), dtype=torch.float64)
    where = (one.rows.index // JOINT.length)[: one.scored]
    return losses.index_add_(0, where, one.weight[: one.scored] * values) / JOINT.length


def test_found_times_do_lower_the_variance_of_a_documents_loss():
    batch, _ = sequences(2000)
    made = objective(TimesParams(law="importance", search_every=1, epsilon=0.02))
    plain = document_losses(made)
    made.times, share = search_times(made, OracleModel(JOINT), [batch], seed=0, step=0, device="cpu")
    better = document_losses(made)
    assert share < 0.9
    assert float(better.var() / plain.var()) == pytest.approx(share, rel=0.15)
    assert made.reports_bound
    error = float((plain.var() / len(plain)) ** 0.5)
    assert abs(float(better.mean() - plain.mean())) < 4 * error


def test_a_search_among_ranges_takes_the_one_of_least_variance():
    batch, _ = sequences(2000)
    made = objective(TimesParams(search_every=1))
    found, share = search_times(made, OracleModel(JOINT), [batch], seed=0, step=0, device="cpu")
    spread = measure_spread(made, OracleModel(JOINT), [batch], seed=0, step=0)
    assert found.t_range == min(made.times.search_ranges, key=lambda pair: spread.variance(*pair)) != (0.0, 1.0)
    assert share == pytest.approx(spread.variance(*found.t_range) / spread.variance(0.0, 1.0))
    assert share < 1


@pytest.mark.parametrize(
    "times",
    [TimesParams(t_range=(0.25, 0.5), search_every=5), TimesParams(law="importance", density=(0.1, 2.0))],
    ids=["range", "density"],
)
def test_what_was_found_comes_back_from_a_checkpoint(times):
    asked = TimesParams(law=times.law, search_every=5)
    assert found_in(with_found(asked, found_in(times))) == found_in(times)
    assert with_found(asked, found_in(times)).search_every == 5


class InBlocks(MaskProcess):
    """The mask process with a time for every four tokens."""

    Params = MaskParams

    def blocks(self, positions: torch.Tensor) -> torch.Tensor:
        return positions // 4


def test_blocks_with_times_of_their_own_are_measured_apart():
    """A document of four blocks has the variance of one of them, not a quarter of it."""
    batch = lay_rows([[(i, [i % 3, 1, 2, 0] * 4)] for i in range(200)], 16)
    single = lay_rows([[(i, [i % 3, 1, 2, 0])] for i in range(800)], 4)

    class Even:
        """Every token is as likely as any other."""

        training = False
        head_weight = torch.eye(3, dtype=torch.float64)

        def __call__(self, x_t, t, layout, rows=None):
            return torch.zeros(len(rows), 3, dtype=torch.float64)

        def train(self, mode=True):
            return self

    one = measure_spread(objective(process=InBlocks), Even(), [batch], seed=0, step=0, bins=4)
    other = measure_spread(objective(), Even(), [single], seed=0, step=1, bins=4)
    assert one.mean == pytest.approx(other.mean, rel=0.1)
    assert one.square[:3] == pytest.approx(other.square[:3], rel=0.15)


@pytest.mark.parametrize(
    "name", [name for name in PROCESSES if PROCESSES[name].bound != "none" and PROCESSES[name].random]
)
def test_any_process_and_its_network_can_be_searched(name):
    process = PROCESSES.build(PROCESSES[name].Params(), Vocabulary.after(K))
    made, model = NELBO(NELBOParams(), process), network().train()
    batch = lay_rows([random_documents([9, 5], K), [(2, [1] * 12)]], 16, frozen=2)
    first, again = (measure_spread(made, model, [batch], seed=0, step=2, bins=5) for _ in range(2))
    assert first == again
    assert model.training
    assert all(s >= m * m - 1e-9 > -1e-9 for m, s in zip(first.mean, first.square, strict=True))
    assert first != measure_spread(made, model, [batch], seed=0, step=3, bins=5)
