"""Counter-based random numbers: Philox4x32-10 in integer torch operations.

A draw is a pure function of (seed, stream, step, document, window, position), so packing, batch size, the number of
ranks and a faster kernel never change it, and resuming needs no generator state. The words are bit-equal to Triton's
``tl.philox`` with ``seed = key(...)`` and counters (position, window, document, step).

Reference: Salmon, Moraes, Dror, Shaw. "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from diffusionlm.lazy import torch

_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
ROUNDS = 10


def key(seed: int, stream: str) -> int:
    """Return the 64-bit Philox key of a named stream; streams of one seed are independent.

    Args:
        seed: Any integer.
        stream: The name of what is drawn, for example ``"corrupt/mask"``.
    """
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def philox(
    key64: int, c0: torch.Tensor, c1: torch.Tensor, c2: torch.Tensor, c3: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return four random 32-bit words per counter (Philox4x32-10).

    Args:
        key64: The 64-bit key.
        c0, c1, c2, c3: Counters, int64 tensors that broadcast; only their low 32 bits count.

    Returns:
        Four int64 tensors of the broadcast shape with values in [0, 2^32).
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(c0, c1, c2, c3)
    c0, c1, c2, c3 = c0 & _LOW, c1 & _LOW, c2 & _LOW, c3 & _LOW
    k0, k1 = key64 & _LOW, (key64 >> 32) & _LOW
    for _ in range(ROUNDS):
        # A 32 × 32 product wraps in int64, but two's complement keeps all its 64 bits; masking undoes the sign.
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, p1 & _LOW, ((p0 >> 32) & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def uniform_from_words(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Map two 32-bit words to float64 uniforms in the open interval (0, 1), 52 random bits each."""
    # With 53 bits the half that keeps 0 out would round the largest value up to 1; with 52 every value is exact.
    bits = (high << 20) | (low >> 12)
    return (bits.double() + 0.5) * 2.0**-52


@dataclass(frozen=True)
class Draws:
    """Random numbers for the sites of a batch.

    Attributes:
        seed: The run's seed for this purpose.
        step: The optimizer step (training) or the sampling step (generation).
        document: (B, T) int64, the global index of the document (or the sample) at each site.
        window: (B, T) int64, which window of the document.
        position: (B, T) int64, the position inside the window.
    """

    seed: int
    step: int
    document: torch.Tensor
    window: torch.Tensor
    position: torch.Tensor

    def words(self, stream: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return four (B, T) int64 tensors of 32-bit words from the named stream."""
        # Filled on the device: torch.tensor would copy from the host and wait for it.
        step = torch.full((), self.step, dtype=torch.int64, device=self.position.device)
        return philox(key(self.seed, stream), self.position, self.window, self.document, step)

    def uniform(self, stream: str) -> torch.Tensor:
        """Return (B, T) float64 uniforms in (0, 1) from the named stream."""
        w0, w1, _, _ = self.words(stream)
        return uniform_from_words(w0, w1)

    def entry_keys(self, stream: str) -> torch.Tensor:
        """Return (B, T, 2) int32 keys from the named stream, one pair per site, for ``entry_uniforms``."""
        w0, w1, _, _ = self.words(stream)
        return torch.stack((w0, w1), -1).sub_(1 << 31).to(torch.int32)


_GOLDEN, _MIX_1, _MIX_2 = -1640531535, 0x7FEB352D, -2073254261


def entry_uniforms(keys: torch.Tensor, entries: int, dtype: torch.dtype) -> torch.Tensor:
    """Return (N, entries) uniforms in (0, 1): one per site and vocabulary entry, a function of key and entry alone.

    Ten rounds of Philox per entry would cost more than the rest of a training step at V = 50 257. A site's pair of
    Philox words instead keys a bijection of the 32-bit integers in the manner of Even and Mansour (add a key, mix, add
    a key, mix), all of it 32-bit operations that vectorise. The mixer is Wellons' ``lowbias32``,
    https://nullprogram.com/blog/2018/07/31/. 31 bits are used, so a value is at least 2^-32 and −ln U at most 22.2.

    Args:
        keys: (N, 2) int32 from ``Draws.entry_keys``.
        entries: How many entries, counted from 0.
        dtype: float32 or float64.
    """
    entry = torch.arange(entries, device=keys.device, dtype=torch.int32) * _GOLDEN
    x = entry + keys[:, :1]
    spare = torch.empty_like(x)

    def fold(bits: int) -> None:
        # The shift is arithmetic: the mask takes the copies of the sign away.
        torch.bitwise_right_shift(x, bits, out=spare)
        x.bitwise_xor_(spare.bitwise_and_((1 << (32 - bits)) - 1))

    fold(16)
    x.mul_(_MIX_1).add_(keys[:, 1:])
    fold(15)
    x.mul_(_MIX_2)
    fold(16)
    # In float32 the largest values would round to 1.
    return x.bitwise_and_(0x7FFFFFFF).to(dtype).add_(0.5).mul_(2.0**-31).clamp_(max=1.0 - 2.0**-24)


def scalar_uniform(seed: int, stream: str, step: int) -> float:
    """Return one float64 uniform in (0, 1), a function of its arguments alone."""
    zero = torch.zeros((), dtype=torch.int64)
    w0, w1, _, _ = philox(key(seed, stream), zero, zero, zero, torch.tensor(step, dtype=torch.int64))
    return float(uniform_from_words(w0, w1))


def seed_torch(seed: int, stream: str, *counters: int) -> None:
    """Seed torch's own generators (dropout, initialisation) as a function of the arguments alone.

    Called at the start of every training micro-step, this makes the state of torch's generators something that never
    needs saving.
    """
    torch.manual_seed(key(seed, "/".join((stream, *map(str, counters)))) >> 1)
