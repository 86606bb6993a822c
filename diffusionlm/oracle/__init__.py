"""Exact answers on tiny joints: what ``flowlm selftest`` and the tests hold every bound and sampler against."""

from diffusionlm.oracle.joint import Joint, noise_floor, random_joint, total_variation
from diffusionlm.oracle.process import ExactHead

__all__ = ["ExactHead", "Joint", "noise_floor", "random_joint", "total_variation"]
