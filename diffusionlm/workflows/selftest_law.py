"""Laws of samples and of pure noise: what ``flowlm selftest`` measures by drawing.

Samples of token ids are compared with the joint by total variation. A flow on the simplex is compared at one position,
where its samplers claim the law of the data whatever the vocabulary, by KL(data ‖ samples): docs/MATH.md §3.
"""

from __future__ import annotations

import math

import torch

from diffusionlm.generation.canvas import Canvas
from diffusionlm.generation.loop import sample
from diffusionlm.oracle import ExactHead, Joint
from diffusionlm.process import Head, Process
from diffusionlm.process.simplex.base import SimplexProcess
from diffusionlm.process.simplex.state import SimplexState
from diffusionlm.rng import Draws
from diffusionlm.sampling import Sampler


def head_of(rule: Sampler) -> Head:
    """Return which exact head a sampler is given: the network's own; else the posterior, if the rule can use it."""
    network = type(rule.process).network_head
    if network is not None:
        return network
    return "leave_one_out" if rule.heads == {"leave_one_out"} else "posterior"


def samples_of(rule: Sampler, joint: Joint, number: int, steps: int) -> torch.Tensor:
    """Return (number, L) int64 finished samples of a sampler with the exact head of a joint."""
    empty = torch.zeros(number, joint.length, dtype=torch.int64)
    canvas = Canvas(empty, empty == 0, torch.ones_like(empty), torch.arange(number))
    return sample(ExactHead(joint, rule.process, head_of(rule)), rule, canvas, steps=steps, seed=0).ids


def divergence(joint: Joint, samples: torch.Tensor) -> float:
    """Return KL(joint ‖ samples) in nats; N exact samples have (K^L − 1)/(2N) on average."""
    cells = joint.flat().numel()
    q = torch.bincount(joint.index(samples), minlength=cells).double() / len(samples)
    return float((joint.flat() * (joint.flat() / q).log()).sum())


def exact_divergence(joint: Joint, number: int, deviations: float) -> float:
    """Return what the KL of ``number`` exact samples reaches so many standard deviations above its mean.

    2N times it is nearly χ² with K^L − 1 degrees of freedom.
    """
    freedom = joint.flat().numel() - 1
    return (freedom + deviations * math.sqrt(2.0 * freedom)) / (2.0 * number)


def dependence_at_start(process: Process, number: int) -> float:
    """Return by how much a state at t = 0 differs between clean tokens, with the same random numbers."""
    assert isinstance(process, SimplexProcess), "states that are ids start from the process's source"
    site = torch.arange(number)[:, None]
    draws = Draws(0, 0, site, torch.zeros_like(site), torch.zeros_like(site))
    t, everywhere = torch.zeros(site.shape, dtype=torch.float64), site >= 0
    points = []
    for token in range(process.vocabulary.size):
        noisy = process.corrupt(torch.full_like(site, token), t, everywhere, torch.ones_like(site), draws)
        assert isinstance(noisy.x_t, SimplexState)
        points.append(process.dense(noisy.x_t, torch.float64))
    return float(max((one - points[0]).abs().max() for one in points))
