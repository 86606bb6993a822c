"""The race by its K winners: the posterior's embedding without a draw per vocabulary entry.

Of N = V − 1 exponentials only the K largest are drawn, in order, and given distinct random names; with the clean entry
they hold nearly all of a posterior that has anything to say. The other V − 1 − K entries are independent and
exponential below the smallest winner θ; their weight and their sum enter by their exact conditional means (the sum also
with its variance), and their embedding is the mean of the table.

    F_r = Π_{k ≤ r} U_k^{1/(N − k + 1)},  E_(r) = −ln(1 − F_r)                    (largest first, exact)
    Σ_rest ≈ (V − 1 − K)·E[E | E < θ] + √(V − 1 − K)·sd·z,    weight_rest ≈ (V − 1 − K)·E[e^{cVE/Σ} | E < θ]

What is lost is the spread of the rest around the mean embedding: a relative error of about
√(Σ_rest w²)/Σ w, largest at small s, where the state says next to nothing; tests compare it with the exact form.
O(K·D) per token in place of O(V·D). Rényi 1953; docs/MATH.md §3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffusionlm.lazy import torch
from diffusionlm.process.simplex.state import SimplexState
from diffusionlm.rng import entry_uniforms

if TYPE_CHECKING:
    from diffusionlm.process.simplex.logit import LogitProcess

WALKS = 6
"""Times that a name outside the vocabulary is mapped on; primes are dense, so one or two nearly always do."""


def next_prime(number: int) -> int:
    """Return the smallest prime that is at least ``number``."""
    candidate = max(number, 2)
    while any(candidate % d == 0 for d in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate


def names(keys: torch.Tensor, clean: torch.Tensor, number: int, size: int) -> torch.Tensor:
    """Return (n, K) int64 distinct entries other than the clean one, every pair of them equally likely.

    k → a·k + b modulo a prime P ≥ V − 1 is a permutation; names from V − 1 on are mapped again, which leaves one.

    Args:
        keys: (n, 2) int32.
        clean: (n,) int64.
        number: K.
        size: V.
    """
    prime, others = next_prime(size - 1), size - 1
    a = 1 + keys[:, :1].long() % (prime - 1)
    b = keys[:, 1:].long() % prime
    name = (a * torch.arange(number, device=keys.device) + b) % prime
    for _ in range(WALKS):
        name = torch.where(name >= others, (a * name + b) % prime, name)
    name = name.clamp(max=others - 1)
    return name + (name >= clean[:, None]).long()


def embed_top_k(process: LogitProcess, state: SimplexState, table: torch.Tensor) -> torch.Tensor:
    """Return (B·T, D) embeddings under the posterior, from K winners of each race and the mean of the rest.

    Args:
        process: Its clock, V and K.
        state: From ``corrupt``: its keys name the noise.
        table: (rows, D).
    """
    assert state.keys is not None, "a sampler's state is embedded exactly"
    size, rows, number = process.vocabulary.size, process.rows_of(table), process.params.top_k
    assert number <= size - 2, f"{number} winners of {size - 1} leave no rest"
    clean = state.given.flatten().clamp(0, size - 1)
    weights, ids = race(process, state, number, clean)
    inner = torch.cat((clean[:, None], ids), 1)
    mixed = torch.nn.functional.embedding_bag(
        inner, rows, mode="sum", per_sample_weights=weights[:, :-1].to(table.dtype)
    )
    return mixed + weights[:, -1:].to(table.dtype) * rows.mean(0)


def race(
    process: LogitProcess, state: SimplexState, number: int, clean: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, K + 2) weights (clean, winners, rest; they add up to one) and (n, K) winners' names."""
    assert state.keys is not None
    size, log_s = process.vocabulary.size, state.level
    uniforms = entry_uniforms(state.keys, number + 3, torch.float64)
    left = torch.arange(size - 1, size - 1 - number, -1, device=clean.device)
    winners = -torch.log(-torch.expm1((uniforms[:, :number].log() / left).cumsum(1)))  # (n, K), descending
    own = -uniforms[:, number].log() * log_s.exp()
    # Two more uniforms make one standard normal.
    normal = (-2.0 * uniforms[:, number + 1].log()).sqrt() * torch.cos(2.0 * torch.pi * uniforms[:, number + 2])
    theta, rest = winners[:, -1], size - 1 - number
    tail = torch.exp(-theta) / -torch.expm1(-theta)
    mean = 1.0 - theta * tail
    variance = (1.0 - theta.square() * tail * (1.0 + tail)).clamp_min(0.0)
    total = own + winners.sum(1) + rest * mean + (rest * variance).sqrt() * normal
    excess = -torch.expm1(-log_s)
    pull = excess * size / total
    # E[e^{pull·E} | E < θ] = (1 − e^{−(1 − pull)θ})/((1 − pull)(1 − e^{−θ})), finite at pull = 1.
    slope = torch.where((1.0 - pull).abs() < 1e-9, 1e-9, 1.0 - pull)
    average = -torch.expm1(-slope * theta) / slope / -torch.expm1(-theta)
    share = torch.cat((own[:, None], winners), 1) * (excess / total)[:, None]
    logits = torch.cat((-size * torch.log1p(-share), (rest * average).log()[:, None]), 1)
    return logits.softmax(1), names(state.keys, clean, number, size)
