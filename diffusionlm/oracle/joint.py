"""Tiny joint distributions whose every marginal, posterior and bound can be enumerated.

A joint is a table p(x) over K^L sequences, K ≤ 5 and L ≤ 4. From it come the entropy, the exact predictive distribution
of a position under any factorised noise (posterior p(x_i given z) or leave-one-out p(x_i given z without z_i)), a
predictor and a model that speak the library's own protocols, and the mask bound by enumeration over masks. Nothing here
imports a process, a sampler or an objective, so every one of them can be tested against it.

How to use it:

- a sampler: ``OraclePredictor(joint)`` is the head; draw many canvases, then ``total_variation(joint, samples)``;
- an objective or the evaluator: ``OracleModel(joint)`` stands for the Transformer (its "hidden" are log-probabilities);
- another noise: pass ``evidence(z, t) -> (B, L, K)``, the likelihood q_t(z_i given x_i = k), and the kind of head.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

Kind = Literal["posterior", "leave_one_out"]
Evidence = Callable[[torch.Tensor, "torch.Tensor | None"], torch.Tensor]


@dataclass(frozen=True)
class Joint:
    """A probability table over sequences.

    Attributes:
        probability: (K, ..., K) float64 with L axes; sums to one, every entry positive.
    """

    probability: torch.Tensor

    def __post_init__(self) -> None:
        assert self.probability.dtype == torch.float64, self.probability.dtype
        assert abs(float(self.probability.sum()) - 1.0) < 1e-12, float(self.probability.sum())
        assert float(self.probability.min()) > 0.0, "an oracle joint has full support, so every state is possible"

    @property
    def vocabulary(self) -> int:
        """K, the number of data tokens; the mask token is model row K."""
        return self.probability.shape[0]

    @property
    def length(self) -> int:
        """L, the number of positions."""
        return self.probability.ndim

    @property
    def mask_id(self) -> int:
        """The row of the mask token."""
        return self.vocabulary

    def sequences(self) -> torch.Tensor:
        """Return all sequences, (K^L, L) int64, in the order of the flattened table."""
        axis = torch.arange(self.vocabulary)
        return torch.cartesian_prod(*[axis] * self.length).reshape(-1, self.length)

    def flat(self) -> torch.Tensor:
        """Return the probabilities of ``sequences()``, (K^L,) float64."""
        return self.probability.reshape(-1)

    def entropy(self) -> float:
        """Return the entropy in nats per sequence: what a tight bound integrates to with an exact head."""
        return float(-(self.flat() * self.flat().log()).sum())

    def index(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (N,) row in ``sequences()`` of each sequence in ``x`` (N, L)."""
        place = self.vocabulary ** torch.arange(self.length - 1, -1, -1)
        return (x.cpu() * place).sum(-1)

    def log_probability(self, x: torch.Tensor) -> torch.Tensor:
        """Return ln p(x) in nats, (N,) float64, of sequences (N, L)."""
        return self.flat()[self.index(x)].log()

    def sample(self, number: int, seed: int) -> torch.Tensor:
        """Return ``number`` sequences drawn from the joint, (number, L) int64."""
        generator = torch.Generator().manual_seed(seed)
        return self.sequences()[torch.multinomial(self.flat(), number, replacement=True, generator=generator)]


def random_joint(vocabulary: int, length: int, seed: int, sharpness: float = 1.5) -> Joint:
    """Return a joint with strongly dependent positions: a softmax of ``sharpness`` × standard normals."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn([vocabulary] * length, generator=generator, dtype=torch.float64) * sharpness
    return Joint(torch.softmax(logits.reshape(-1), 0).reshape([vocabulary] * length))


def mask_evidence(joint: Joint) -> Evidence:
    """Return the evidence of the mask process: one where the position is masked, an indicator where it is visible.

    q_t(z given x) has also a factor κ or 1 − κ, the same for every x, which the posterior does not see.
    """

    def evidence(z: torch.Tensor, t: torch.Tensor | None) -> torch.Tensor:
        del t
        states = torch.arange(joint.vocabulary)
        return ((z[..., None] == joint.mask_id) | (z[..., None] == states)).double()

    return evidence


def predictive(joint: Joint, evidence: torch.Tensor, kind: Kind = "posterior", chunk: int = 2048) -> torch.Tensor:
    """Return the exact distribution of every clean position, by enumeration over all K^L sequences.

    Args:
        joint: The data distribution.
        evidence: (B, L, K) float64, q_t(z_i given x_i = k).
        kind: ``posterior``, p(x_i given z); ``leave_one_out``, p(x_i given z without z_i).
        chunk: States handled at a time.

    Returns:
        (B, L, K) float64; sums to one over K.
    """
    x = joint.sequences()  # (S, L)
    positions = torch.arange(joint.length)
    parts = []
    for part in evidence.split(chunk):
        site = part[:, positions, x]  # (b, S, L): the evidence of each position under each sequence
        rows = []
        for i in range(joint.length):
            others = [j for j in range(joint.length) if kind == "posterior" or j != i]
            weight = joint.flat() * site[:, :, others].prod(-1)  # (b, S)
            mass = torch.zeros(part.shape[0], joint.vocabulary, dtype=torch.float64)
            rows.append(mass.index_add_(1, x[:, i], weight))
        parts.append(torch.stack(rows, 1))
    mass = torch.cat(parts)
    total = mass.sum(-1, keepdim=True)
    assert float(total.min()) > 0.0, "a state that the joint and the noise cannot produce"
    return mass / total


def known_states(x_t: torch.Tensor, layout: Any, mask_id: int) -> torch.Tensor:
    """Return what each predicting column of a view may know of the sequence, (B, L, L) int64, m where nothing.

    Args:
        x_t: (B, S) tokens. Causal layouts hold the text shifted by one; with ``clean`` they hold [z ; x].
        layout: ``causal``, ``blocks`` (B, S) and ``clean`` (B, S) are read from it; None = everything is seen.
        mask_id: m.
    """
    x_t, size = x_t.cpu(), x_t.shape[1]
    place = torch.arange(size)
    if layout is None or not (layout.causal or layout.blocks is not None):
        return x_t[:, None].expand(-1, size, -1)
    if layout.causal:
        assert layout.blocks is None, "no oracle for causal blocks"
        text = torch.nn.functional.pad(x_t[:, 1:], (0, 1), value=mask_id)
        return torch.where(place[None, :] < place[:, None], text[:, None], mask_id)
    if layout.clean is None:
        seen = layout.blocks[:, None, :] <= layout.blocks[:, :, None]
        return torch.where(seen, x_t[:, None], mask_id)
    half = size // 2
    assert bool((~layout.clean[:, :half]).all() & layout.clean[:, half:].all()), "not [z ; x]"
    z, x, block = x_t[:, None, :half], x_t[:, None, half:], layout.blocks[:, :half]
    key, query = block[:, None, :], block[:, :, None]
    return torch.where(key == query, z, torch.where(key < query, x, mask_id))


class OraclePredictor:
    """A head that knows the joint: ``predict(z, t, rows) -> logits``, with ``kind``.

    Args:
        joint: The data distribution.
        evidence: The noise's likelihood, (z, t) → (B, L, K); the mask process by default.
        kind: Which predictive the logits are. For the mask process the two agree at every masked position; at a visible
            one the posterior is an indicator (logits −inf elsewhere).
    """

    def __init__(self, joint: Joint, evidence: Evidence | None = None, kind: Kind = "posterior") -> None:
        self.joint = joint
        self.kind: Kind = kind
        self.calls = 0
        self._evidence = evidence
        self._mask_table = predictive(joint, mask_evidence(joint)(self._mask_states(), None), kind)

    def _mask_states(self) -> torch.Tensor:
        return torch.tensor(list(itertools.product(range(self.joint.vocabulary + 1), repeat=self.joint.length)))

    def probabilities(self, z: torch.Tensor, t: torch.Tensor | None = None) -> torch.Tensor:
        """Return the predictive of every position, (B, L, K) float64, for states ``z`` (B, L) at times ``t`` (B, L)."""
        z = z.cpu()
        assert z.shape[1] == self.joint.length, (tuple(z.shape), self.joint.length)
        if self._evidence is not None:
            return predictive(self.joint, self._evidence(z, t), self.kind)
        place = (self.joint.vocabulary + 1) ** torch.arange(self.joint.length - 1, -1, -1)
        return self._mask_table[(z * place).sum(-1)]

    def of_view(self, x_t: torch.Tensor, layout: Any) -> torch.Tensor:
        """Return the predictive of every position from what its column of a view may know, (B, L, K) float64."""
        assert self._evidence is None, "views of other noise than masks show the state alone"
        known = known_states(x_t, layout, self.joint.mask_id)
        place = (self.joint.vocabulary + 1) ** torch.arange(self.joint.length - 1, -1, -1)
        return self._mask_table[(known * place).sum(-1), torch.arange(self.joint.length)]

    def predict(self, z: torch.Tensor, t: torch.Tensor | None, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return ln p at the flat indices ``rows`` of the B·L positions, (N, K) float64 (all of them if ``None``)."""
        self.calls += 1
        flat = self.probabilities(z, t).log().reshape(-1, self.joint.vocabulary)
        return flat if rows is None else flat[rows.cpu()]


class OracleModel:
    """The oracle in the shape of the Transformer: hidden states are log-probabilities and ``logits`` returns them.

    It has no parameters. Of the layout it reads who sees what: a column of a causal or block view is predicted from
    what it may know (one whole sequence per row).
    """

    shift = 0

    def __init__(self, joint: Joint, evidence: Evidence | None = None, kind: Kind = "posterior") -> None:
        self.predictor = OraclePredictor(joint, evidence, kind)
        self.kind: Kind = kind
        self.training = False

    def __call__(
        self, x_t: torch.Tensor, t: torch.Tensor | None, layout: Any, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return "hidden" (N, K), or (B, L, K) without ``rows``."""
        if layout is None or not (layout.causal or layout.blocks is not None):
            hidden = self.predictor.predict(x_t, t, rows)
            return hidden if rows is not None else hidden.reshape(*x_t.shape, -1)
        seen = self.predictor.of_view(x_t, layout).log()
        if rows is None:
            return seen
        width, length = x_t.shape[1], seen.shape[1]
        return seen.flatten(0, 1)[rows // width * length + rows % width]

    @property
    def head_weight(self) -> torch.Tensor:
        """(K, K): the oracle's head is the identity."""
        return torch.eye(self.predictor.joint.vocabulary, dtype=torch.float64)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``hidden``: the oracle's head is the identity."""
        return hidden

    def train(self, mode: bool = True) -> OracleModel:
        """Remember the mode, as a module does; nothing depends on it."""
        self.training = mode
        return self

    def eval(self) -> OracleModel:
        """Switch to evaluation mode."""
        return self.train(False)


def masked_cross_entropy(joint: Joint) -> torch.Tensor:
    """Return E over x of Σ_{i masked} CE_i for the exact head, nats, (2^L,): one entry per set of masked positions.

    Entry ``m`` masks position i where bit i of ``m`` is set.
    """
    x, weight = joint.sequences(), joint.flat()
    oracle = OraclePredictor(joint)
    totals = []
    for m in range(2**joint.length):
        masked = torch.tensor([bool(m >> i & 1) for i in range(joint.length)])
        z = torch.where(masked, torch.full_like(x, joint.mask_id), x)
        p = oracle.probabilities(z).gather(-1, x[..., None])[..., 0]  # (S, L)
        totals.append((weight[:, None] * -p.log())[:, masked].sum())
    return torch.stack(totals)


def masks_by_count(length: int) -> torch.Tensor:
    """Return how many positions each of the 2^L masks of ``masked_cross_entropy`` hides, (2^L,) int64."""
    return torch.tensor([bin(m).count("1") for m in range(2**length)])


def bernoulli_bound(
    joint: Joint, kappa: Callable[[torch.Tensor], torch.Tensor], jump_rate: Callable[[torch.Tensor], torch.Tensor]
) -> float:
    """Return ∫ c(t) E_z Σ_{z_i = m} CE_i dt in nats per sequence, by enumeration over masks and quadrature over t.

    Args:
        joint: The data distribution; the head is exact.
        kappa: t (float64) → κ(t).
        jump_rate: t → c(t) = κ̇/(1 − κ).
    """
    nodes, weights = gauss_legendre(400)
    cross_entropy = masked_cross_entropy(joint)
    n = masks_by_count(joint.length).double()
    k = kappa(nodes)[:, None]
    probability = (1 - k) ** n * k ** (joint.length - n)  # (Q, 2^L)
    inner = (probability * cross_entropy).sum(-1)
    return float((weights * jump_rate(nodes) * inner).sum())


def exact_count_bound(joint: Joint) -> float:
    """Return E over n ~ U{1..L} and masks of n positions of (L/n)·Σ CE, nats per sequence, by enumeration."""
    cross_entropy, n = masked_cross_entropy(joint), masks_by_count(joint.length)
    length = joint.length
    total = 0.0
    for count in range(1, length + 1):
        total += float(cross_entropy[n == count].mean()) * (length / count) / length
    return total


def gauss_legendre(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return nodes and weights of Gauss–Legendre quadrature on (0, 1), float64."""
    index = torch.arange(1, number, dtype=torch.float64)
    off = index / torch.sqrt(4 * index**2 - 1)
    # Golub and Welsch 1969: nodes are the eigenvalues of the Jacobi matrix, weights 2·v_0².
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (values + 1) / 2, vectors[0] ** 2


def total_variation(joint: Joint, samples: torch.Tensor) -> float:
    """Return the total-variation distance between the joint and the empirical law of ``samples`` (N, L).

    With N samples the distance of an exact sampler is about sqrt(K^L / (2πN)), not zero: see ``noise_floor``.
    """
    low, high = int(samples.min()), int(samples.max())
    assert 0 <= low <= high < joint.vocabulary, f"samples hold tokens {low}..{high}, not 0..{joint.vocabulary - 1}"
    counts = torch.bincount(joint.index(samples), minlength=joint.flat().numel()).double()
    return float((counts / counts.sum() - joint.flat()).abs().sum() / 2)


def noise_floor(joint: Joint, number: int) -> float:
    """Return the expected total variation of ``number`` exact samples, by the normal approximation of each cell."""
    p = joint.flat()
    return float((p * (1 - p) / number).sqrt().sum() * math.sqrt(2 / math.pi) / 2)
