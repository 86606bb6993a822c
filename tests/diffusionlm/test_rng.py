"""Philox against published answers and against Triton's; uniforms and streams."""

import hashlib
import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from diffusionlm.rng import Draws, key, philox, scalar_uniform, seed_torch, uniform_from_words

# The known answers that Random123 ships for philox4x32-10: counter, key, result.
ONES = 0xFFFFFFFF
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def site(position: torch.Tensor, seed: int = 0, step: int = 0, document: int = 0, window: int = 0) -> Draws:
    return Draws(seed, step, torch.full_like(position, document), torch.full_like(position, window), position)


@pytest.mark.parametrize(("counter", "key_words", "expected"), KNOWN, ids=["zeros", "ones", "pi"])
def test_known_answers(counter, key_words, expected):
    words = philox(key_words[0] | key_words[1] << 32, *(torch.tensor(c) for c in counter))
    assert tuple(int(word) for word in words) == expected


def test_counters_broadcast_and_only_their_low_32_bits_count():
    c0, c1, zero = torch.arange(5)[:, None], torch.arange(3)[None], torch.tensor(0)
    together = philox(99, c0, c1, zero, zero)
    assert together[0].shape == (5, 3)
    alone = philox(99, torch.tensor(4), torch.tensor(2), zero, zero)
    assert [int(word[4, 2]) for word in together] == [int(word) for word in alone]
    high = philox(99, torch.tensor(4 + (7 << 32)), torch.tensor(2 - (1 << 32)), zero, zero)
    assert [int(word) for word in high] == [int(word) for word in alone]


TRITON = """
import torch, triton, triton.language as tl
from diffusionlm.rng import key, philox

@triton.jit
def kernel(out, seed, c1, c2, c3, N: tl.constexpr):
    position = tl.arange(0, N)
    zero = position * 0
    w0, w1, w2, w3 = tl.philox(
        seed, position.to(tl.uint32), (zero + c1).to(tl.uint32), (zero + c2).to(tl.uint32), (zero + c3).to(tl.uint32)
    )
    tl.store(out + position, w0.to(tl.int64))
    tl.store(out + N + position, w1.to(tl.int64))
    tl.store(out + 2 * N + position, w2.to(tl.int64))
    tl.store(out + 3 * N + position, w3.to(tl.int64))

N = 64
for seed in (0, 1, 2**32 + 5, key(3, "corrupt/select") >> 1):
    for window, document, step in ((0, 0, 0), (1, 2, 3), (7, 2**31 - 1, 123456)):
        out = torch.zeros(4 * N, dtype=torch.int64)
        kernel[(1,)](out, seed, window, document, step, N=N)
        ours = torch.cat(philox(seed, torch.arange(N), *(torch.tensor(c) for c in (window, document, step))))
        assert torch.equal(out & 0xFFFFFFFF, ours), (seed, window, document, step, out[:4], ours[:4])
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_words_are_tritons(tmp_path):
    program = tmp_path / "compare.py"  # Triton reads the source of a kernel, so it has to be in a file
    program.write_text(TRITON)
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_uniforms_lie_inside_the_open_interval():
    zero, ones = torch.tensor(0), torch.tensor(ONES)
    low, high = float(uniform_from_words(zero, zero)), float(uniform_from_words(ones, ones))
    assert 0.0 < low < 1e-15
    assert 1.0 - 1e-15 < high < 1.0


def test_uniforms_are_uniform():
    u = site(torch.arange(200_000)).uniform("x")
    counts = torch.histc(u, bins=100, min=0.0, max=1.0)
    chi2 = float(((counts - 2000) ** 2 / 2000).sum())
    assert 50 < chi2 < 160, chi2  # 99 degrees of freedom: mean 99, standard deviation 14
    neighbours = torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1]
    assert abs(float(neighbours)) < 0.01


def test_every_name_and_counter_makes_another_stream():
    position = torch.arange(20_000)
    base = site(position).uniform("a")
    others = [
        site(position).uniform("b"),
        site(position, seed=1).uniform("a"),
        site(position, step=1).uniform("a"),
        site(position, document=1).uniform("a"),
        site(position, window=1).uniform("a"),
        site(position + 20_000).uniform("a"),
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([base, other]))[0, 1])) < 0.03
        assert not bool((base == other).any())
    assert torch.equal(base, site(position).uniform("a"))


def test_draws_follow_their_site_not_their_place_in_the_batch():
    document, position = torch.randint(0, 99, (6, 8)), torch.randint(0, 500, (6, 8))
    window = torch.randint(0, 3, (6, 8))
    whole = Draws(5, 2, document, window, position).uniform("a")
    turned = Draws(5, 2, document.flip(0, 1), window.flip(0, 1), position.flip(0, 1)).uniform("a")
    assert torch.equal(whole, turned.flip(0, 1))
    assert torch.equal(whole[2:4], Draws(5, 2, document[2:4], window[2:4], position[2:4]).uniform("a"))


def test_keys_are_64_bits_and_stable():
    keys = {key(seed, stream) for seed in range(50) for stream in ("a", "b", "times")}
    assert len(keys) == 150
    assert all(0 <= k < 2**64 for k in keys)
    # A change of this value would change every run that is resumed or repeated.
    digest = hashlib.blake2b(b"0/corrupt/select", digest_size=8).digest()
    assert key(0, "corrupt/select") == int.from_bytes(digest, "little")


def test_scalar_uniforms():
    values = [scalar_uniform(0, "times", step) for step in range(2000)]
    assert all(0.0 < value < 1.0 for value in values)
    assert len(set(values)) == 2000
    assert abs(sum(values) / 2000 - 0.5) < 0.03
    assert values[7] == scalar_uniform(0, "times", 7) != scalar_uniform(1, "times", 7)


def test_seed_torch_is_a_function_of_its_arguments():
    def drawn(*arguments) -> torch.Tensor:
        seed_torch(*arguments)
        return torch.rand(4)

    assert torch.equal(drawn(0, "dropout", 3, 1), drawn(0, "dropout", 3, 1))
    for other in [(1, "dropout", 3, 1), (0, "init", 3, 1), (0, "dropout", 31), (0, "dropout", 3, 2)]:
        assert not torch.equal(drawn(0, "dropout", 3, 1), drawn(*other))
