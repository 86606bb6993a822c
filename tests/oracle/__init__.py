"""Exact oracles on tiny joints: what every bound, objective and sampler is tested against."""
