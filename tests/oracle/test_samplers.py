"""The samplers against exact answers: transition laws by enumeration, whole runs by sampling.

A step of a sampler is a function of uniform random numbers that is constant on cells. ``transition`` feeds it the
corners of every cell (just inside each edge) and weighs the outcomes by the cells' sizes, which gives the exact
transition matrix of the code as it stands; a sampler whose law is off by more than ``EDGE`` lands in the wrong cell and
the matrix shows it. Composed over the steps it gives the exact law of the finished samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from diffusionlm.generation.canvas import Canvas
from diffusionlm.generation.loop import Sampled, sample
from diffusionlm.process import SCHEDULES, MaskProcess, Vocabulary
from diffusionlm.process.mask import MaskParams
from diffusionlm.rng import Draws
from diffusionlm.sampling import Ancestral, Confidence, Filters, Sampler, State
from diffusionlm.sampling.ancestral import AncestralParams
from diffusionlm.sampling.confidence import ConfidenceParams
from tests.oracle.joint import Joint, OraclePredictor, noise_floor, random_joint, total_variation

K = L = 3
EDGE = 1e-9
JOINT = random_joint(K, L, seed=0)
ORDERS = ("max_prob", "margin", "entropy", "random")


def process(schedule: str = "linear") -> MaskProcess:
    return MaskProcess(MaskParams(schedule=SCHEDULES[schedule].Params()), Vocabulary.after(K))


def ancestral(schedule: str = "linear") -> Ancestral:
    return Ancestral(AncestralParams(), process(schedule), Filters())


def confidence(order: str, schedule: str = "linear") -> Confidence:
    return Confidence(ConfidenceParams.model_validate({"order": order}), process(schedule), Filters())


@dataclass(frozen=True)
class GivenDraws(Draws):
    """Draws whose uniforms are given."""

    given: dict[str, torch.Tensor] = field(default_factory=dict)

    def uniform(self, stream: str) -> torch.Tensor:
        return self.given[stream]


def given(**streams: torch.Tensor) -> GivenDraws:
    any_stream = next(iter(streams.values()))
    zeros = torch.zeros(any_stream.shape, dtype=torch.int64)
    named = {f"sample/{name}": value for name, value in streams.items()}
    return GivenDraws(0, 0, zeros, zeros, zeros, named)


def states() -> torch.Tensor:
    """Return all (K + 1)^L states, mask included, in the order of ``state_index``."""
    return torch.cartesian_prod(*[torch.arange(K + 1)] * L)


def state_index(z: torch.Tensor) -> torch.Tensor:
    return (z * (K + 1) ** torch.arange(L - 1, -1, -1)).sum(-1)


def token_cells(oracle: OraclePredictor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return uniforms (C·S, L) and weights (C·S,): both corners of every cell of the token draws, for all S states."""
    uniforms, weights = [], []
    p = oracle.probabilities(states())
    edges = torch.cat([torch.zeros_like(p[..., :1]), p.cumsum(-1)], -1)
    for tokens in itertools.product(range(K), repeat=L):
        pick = torch.tensor(tokens)[None, :, None].expand(len(p), L, 1)
        low, high = edges.gather(-1, pick)[..., 0], edges.gather(-1, pick + 1)[..., 0]
        weight = (high - low).prod(-1)
        for corner in itertools.product((EDGE, 1 - EDGE), repeat=L):
            uniforms.append(low + (high - low) * torch.tensor(corner, dtype=torch.float64))
            weights.append(weight / 2**L)
    return torch.cat(uniforms), torch.cat(weights)


def transition(
    sampler: Sampler, step: int, steps: int, choices: list[tuple[dict[str, torch.Tensor], float]]
) -> torch.Tensor:
    """Return the exact (S, S) transition matrix of one step.

    Args:
        sampler: The rule.
        step: Steps already taken.
        steps: Steps in all.
        choices: What else is random: (streams of shape (L,), weight), the weights summing to one.
    """
    oracle = OraclePredictor(JOINT)
    u_token, weight = token_cells(oracle)
    z = states().repeat(len(u_token) // len(states()), 1)
    whole = torch.ones(z.shape, dtype=torch.bool)
    t = torch.full((len(z),), step / steps, dtype=torch.float64)
    taken, planned = torch.full((len(z),), step), torch.full((len(z),), steps)
    matrix = torch.zeros(len(states()), len(states()), dtype=torch.float64)
    for streams, share in choices:
        draws = given(token=u_token, **{name: u.expand_as(u_token) for name, u in streams.items()})
        state = State(z, whole, t, taken, planned, draws)
        plan = sampler.plan(state)
        rows = plan.sites.flatten().nonzero().squeeze(1)
        moved = sampler.step(state, plan, rows, oracle.predict(z, t[:, None].expand(z.shape), rows))
        matrix.index_put_((state_index(z), state_index(moved.z)), weight * share, accumulate=True)
    return matrix


def ancestral_choices(p: float) -> list[tuple[dict[str, torch.Tensor], float]]:
    """Return the reveal patterns, drawn just inside the edge, with their probabilities."""
    inside, outside = p * (1 - EDGE), min(1.0, p * (1 + EDGE))
    choices = []
    for pattern in itertools.product((True, False), repeat=L):
        weight = 1.0
        for reveal in pattern:
            weight *= p if reveal else 1 - p
        if weight > 0:
            u = torch.tensor([inside if reveal else outside for reveal in pattern], dtype=torch.float64)
            choices.append(({"reveal": u}, weight))
    return choices


def order_choices() -> list[tuple[dict[str, torch.Tensor], float]]:
    """Return all orders of the positions, equally likely."""
    orders = list(itertools.permutations((0.2, 0.5, 0.8), L))
    return [({"order": torch.tensor(u, dtype=torch.float64)}, 1 / len(orders)) for u in orders]


def product_law(p: float) -> torch.Tensor:
    """Return the ancestral transition matrix straight from its formula, with the exact head."""
    z, head = states(), OraclePredictor(JOINT).probabilities(states())
    site = torch.zeros(len(z), L, K + 1, dtype=torch.float64)
    masked = z == K
    visible = torch.nn.functional.one_hot(z, K + 1)[..., :K].double()
    site[..., :K] = torch.where(masked[..., None], p * head, visible)
    site[..., K] = masked.double() * (1 - p)
    return torch.stack([site[:, range(L), w].prod(-1) for w in z], 1)


def final_law(matrices: list[torch.Tensor]) -> torch.Tensor:
    """Return the (K^L,) law of the finished samples, in the joint's order; asserts that no mask is left."""
    law = torch.zeros(len(states()), dtype=torch.float64)
    law[state_index(torch.full((L,), K))] = 1.0
    for matrix in matrices:
        law = law @ matrix
    clean = (states() < K).all(1)
    assert float(law[~clean].sum()) == 0.0
    assert float(law.sum()) == pytest.approx(1.0, abs=1e-9)
    return law[clean]


def distance(law: torch.Tensor) -> float:
    return float((law - JOINT.flat()).abs().sum() / 2)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize(("step", "steps"), [(0, 3), (1, 3), (2, 3), (0, 1)])
def test_the_ancestral_transition_matrix_is_the_formula(schedule: str, step: int, steps: int) -> None:
    kappa = SCHEDULES[schedule](SCHEDULES[schedule].Params()).kappa
    at = kappa(torch.tensor([step / steps, (step + 1) / steps], dtype=torch.float64))
    p = float((at[1] - at[0]) / (1 - at[0]))
    measured = transition(ancestral(schedule), step, steps, ancestral_choices(p))
    assert float((measured - product_law(p)).abs().max()) < 1e-12


def test_the_exact_law_of_ancestral_sampling_falls_to_the_joint_with_steps() -> None:
    distances = []
    for steps in (1, 2, 4, 8, 16, 32, 64):
        # The transition of step i of N is the product law at 1/(N − i), as the test above shows for this sampler.
        distances.append(distance(final_law([product_law(1 / (steps - i)) for i in range(steps)])))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.2
    assert distances[-1] < 0.02
    # Two tokens revealed in one step are the error, and their chance is of order 1/N.
    assert distances[-2] / distances[-1] == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_one_token_a_call_has_exactly_the_joint_law(order: str) -> None:
    sampler = confidence(order)
    matrices = [transition(sampler, step, L, order_choices()) for step in range(L)]
    assert distance(final_law(matrices)) < 1e-8


def test_ordering_by_the_drawn_token_biases_the_law() -> None:
    sampler = confidence("drawn")
    matrices = [transition(sampler, step, L, order_choices()) for step in range(L)]
    assert distance(final_law(matrices)) > 0.05
    assert sampler.law == "heuristic"
    assert confidence("max_prob").law == "joint"


def canvas(number: int, given_tokens: dict[int, int] | None = None) -> Canvas:
    """Return ``number`` canvases of L positions, empty but for the given tokens."""
    ids, editable = torch.zeros(number, L, dtype=torch.int64), torch.ones(number, L, dtype=torch.bool)
    for position, token in (given_tokens or {}).items():
        ids[:, position], editable[:, position] = token, False
    return Canvas(ids, editable, torch.ones_like(ids), torch.arange(number))


def run(sampler: Sampler, number: int, steps: int, joint: Joint = JOINT, **options: int) -> Sampled:
    return sample(OraclePredictor(joint), sampler, canvas(number), steps=steps, seed=5, **options)


SAMPLES = 20_000


def test_whole_ancestral_runs_have_the_joint_law() -> None:
    distances = [total_variation(JOINT, run(ancestral(), SAMPLES, steps).ids) for steps in (1, 4, 48)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.02 + noise_floor(JOINT, SAMPLES)


@pytest.mark.parametrize("order", ORDERS)
def test_whole_confidence_runs_have_the_joint_law(order: str) -> None:
    result = run(confidence(order), SAMPLES, L)
    assert total_variation(JOINT, result.ids) < 2 * noise_floor(JOINT, SAMPLES) < 0.03
    assert result.nfe.unique().tolist() == [L]


@pytest.mark.parametrize("make", [ancestral, lambda: confidence("max_prob"), lambda: confidence("random")])
@pytest.mark.parametrize("block_length", [1, 2])
def test_blocks_around_a_sampler_have_the_joint_law(make: Callable[[], Sampler], block_length: int) -> None:
    steps = 64 if block_length > 1 else L
    result = run(make(), SAMPLES, steps, block_length=block_length)
    # Blocks of one token make any sampler sequential, hence exact; longer ones leave ancestral its 1/N error.
    assert total_variation(JOINT, result.ids) < 2 * noise_floor(JOINT, SAMPLES) + (0.01 if block_length > 1 else 0.0)


@pytest.mark.parametrize("make", [ancestral, lambda: confidence("entropy")])
def test_infilling_draws_from_the_conditional_law(make: Callable[[], Sampler]) -> None:
    result = sample(OraclePredictor(JOINT), make(), canvas(SAMPLES, {1: 2}), steps=48, seed=1)
    assert bool((result.ids[:, 1] == 2).all())
    conditional = JOINT.probability[:, 2, :] / JOINT.probability[:, 2, :].sum()
    counts = torch.zeros(K, K, dtype=torch.float64)
    counts.index_put_((result.ids[:, 0], result.ids[:, 2]), torch.ones(SAMPLES, dtype=torch.float64), accumulate=True)
    floor = noise_floor(Joint(conditional.contiguous()), SAMPLES)
    assert float((counts / SAMPLES - conditional).abs().sum() / 2) < 2 * floor + 0.012


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 17, 100])
def test_no_mask_is_left_and_no_call_is_empty(schedule: str, steps: int) -> None:
    for sampler in (ancestral(schedule), *(confidence(order, schedule) for order in (*ORDERS, "drawn"))):
        predictor = OraclePredictor(JOINT)
        result = sample(predictor, sampler, canvas(50), steps=steps, seed=2)
        assert int(result.ids.max()) < K
        assert int(result.nfe.min()) >= 1
        assert int(result.nfe.max()) <= min(steps, L)
        assert result.steps <= steps
        # A call of the batch is a call that some row took part in.
        assert predictor.calls <= min(steps, int(result.nfe.sum()))
        if isinstance(sampler, Confidence):
            assert predictor.calls == int(result.nfe.max())


def test_temperature_zero_takes_the_mode_of_every_conditional() -> None:
    sampler = Confidence(ConfidenceParams(), process(), Filters(temperature=0.0))
    result = run(sampler, 20, L)
    assert len(result.ids.unique(dim=0)) == 1
    z = torch.full((1, L), K)
    for _ in range(L):
        head = OraclePredictor(JOINT).probabilities(z).masked_fill((z != K)[..., None], 0.0)
        best = int(head.amax(-1).argmax())
        z[0, best] = head[0, best].argmax()
    assert result.ids[0].tolist() == z[0].tolist()
