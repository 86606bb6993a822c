"""What a position becomes when it is drawn again from q_u: clean with probability κ_u, else a token of the noise.

Which of the two, and which noise, does not depend on the network: a sampler can decide it first and ask for the clean
token only where there is to be one. docs/MATH.md §4.
"""

from __future__ import annotations

from diffusionlm.lazy import torch
from diffusionlm.process import Noise, Vocabulary
from diffusionlm.rng import Draws


def redraw(noise: Noise, vocabulary: Vocabulary, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
    """Decide what each position is drawn as.

    Args:
        noise: κ and ν at the positions, (B, T) each.
        vocabulary: The ids.
        draws: Random numbers of the step; the streams are the sampler's own, apart from those of the source.

    Returns:
        (B, T) bool, where the clean token is wanted, and (B, T) int64, a draw from ν/(1 − κ), of use elsewhere.
    """
    kind = draws.uniform("sample/kind")
    # Shares of zero are tested for, not trusted to sum to one with κ: rounding must never make a kind that is absent.
    clean = (kind < noise.kappa) | (noise.mask + noise.uniform <= 0.0)
    masked = (noise.mask > 0.0) & ((kind < noise.kappa + noise.mask) | (noise.uniform <= 0.0))
    token = (draws.uniform("sample/noise") * vocabulary.size).long()
    return clean, torch.where(masked, vocabulary.mask_id, token)
