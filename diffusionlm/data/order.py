"""A random-access permutation of the integers below n, the same on every machine and for ever.

The order of a training run must be a function of (seed, epoch) alone, so that the state of the loader is one integer
and any number of ranks slices one and the same order. Materialising a shuffle of every row would cost memory and would
depend on numpy's generator, whose stream may change between versions. A Feistel network is a bijection of 2^b integers
whatever its round function; walking its cycles until the value is below n restricts it to n integers exactly.

References: Luby, Rackoff. "How to construct pseudorandom permutations from pseudorandom functions", SIAM J. Comput.
1988; cycle walking: Black, Rogaway. "Ciphers with arbitrary finite domains", CT-RSA 2002.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 6
_GOLDEN = 0x9E3779B97F4A7C15
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MASK64 = (1 << 64) - 1


def permute(indices: np.ndarray, n: int, key: int) -> np.ndarray:
    """Return where each index goes under the permutation of ``range(n)`` that ``key`` names.

    Args:
        indices: Integers in [0, n), any shape.
        n: The size of the permuted range, at least 1 and below 2^62.
        key: 64-bit key, for example ``rng.key(seed, "data/rows/3")``.

    Returns:
        int64 array of the shape of ``indices`` with values in [0, n); distinct indices go to distinct values.
    """
    assert 1 <= n < 1 << 62, f"the range to permute has {n} elements, it needs 1 to 2^62 - 1"
    # At least 4 bits: with one-bit halves a Feistel network reaches few of the permutations.
    bits = max(4, (n - 1).bit_length())
    round_keys = [np.uint64((key + (i + 1) * _GOLDEN) & _MASK64) for i in range(ROUNDS)]
    values = np.asarray(indices, dtype=np.int64).reshape(-1).astype(np.uint64)
    assert values.size == 0 or int(values.max()) < n, f"index {int(values.max())} is outside a range of {n}"
    values = _feistel(values, bits, round_keys)
    outside = np.flatnonzero(values >= np.uint64(n))
    while outside.size:
        values[outside] = _feistel(values[outside], bits, round_keys)
        outside = outside[values[outside] >= np.uint64(n)]
    return values.astype(np.int64).reshape(np.shape(indices))


def _feistel(values: np.ndarray, bits: int, round_keys: list[np.uint64]) -> np.ndarray:
    """Apply an unbalanced Feistel network on ``bits`` bits; the halves swap sizes every round, so rounds are even."""
    left_bits, right_bits = bits // 2, bits - bits // 2
    left, right = values >> np.uint64(right_bits), values & np.uint64((1 << right_bits) - 1)
    for round_key in round_keys:
        mixed = _mix(right + round_key) >> np.uint64(64 - left_bits)
        left, right = right, left ^ mixed
        left_bits, right_bits = right_bits, left_bits
    return (left << np.uint64(right_bits)) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), in wrapping uint64 arithmetic, in place on a temporary."""
    x ^= x >> np.uint64(30)
    x *= _M1
    x ^= x >> np.uint64(27)
    x *= _M2
    x ^= x >> np.uint64(31)
    return x
