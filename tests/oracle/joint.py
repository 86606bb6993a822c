"""The oracle joint, which lives in the library (``flowlm selftest`` uses it); the tests know it by this name."""

from diffusionlm.oracle.joint import (
    Evidence,
    Joint,
    Kind,
    OracleModel,
    OraclePredictor,
    bernoulli_bound,
    exact_count_bound,
    gauss_legendre,
    known_states,
    mask_evidence,
    masked_cross_entropy,
    masks_by_count,
    noise_floor,
    predictive,
    random_joint,
    total_variation,
)

__all__ = [
    "Evidence",
    "Joint",
    "Kind",
    "OracleModel",
    "OraclePredictor",
    "bernoulli_bound",
    "exact_count_bound",
    "gauss_legendre",
    "known_states",
    "mask_evidence",
    "masked_cross_entropy",
    "masks_by_count",
    "noise_floor",
    "predictive",
    "random_joint",
    "total_variation",
]
