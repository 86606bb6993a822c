"""Classifier-free guidance: away from what the network would write without the given tokens.

    logits = un + (w + 1)·(cond − un)

``cond`` sees the whole canvas; ``un`` sees it with every given token (prompt, infill context) replaced by the mask
token. w = 0 is no guidance. Both passes run as one batch of twice as many rows, and a row in which nothing is given has
one pass: there is nothing to leave out. The guided distribution takes the head's place, so draws, filters, confidence
and edits all read it. Log-probabilities are combined, and a token that either pass excludes stays excluded.

Guiding and converting a head commute: both passes see the same token at a position whose logits are read, so the
conversion adds the same to cond and un, and un + (w + 1)·(cond − un) carries it once.

The unconditional branch is as good as its training: a network that has never seen a masked prompt before a partly
written answer guesses. Pretraining with mask noise over whole documents shows it; after fine-tuning on answers alone,
train with the prompt masked in a share of the rows (prompt dropout).

Ho and Salimans 2022, https://arxiv.org/abs/2207.12598; for masked diffusion, unsupervised: Nie et al. 2024,
https://arxiv.org/abs/2410.18514. docs/MATH.md §4.
"""

from __future__ import annotations

from diffusionlm.errors import PairingError
from diffusionlm.lazy import torch
from diffusionlm.process import DiscreteProcess, Process
from diffusionlm.process.base import Tokens
from diffusionlm.process.head import Head
from diffusionlm.registry import params_name
from diffusionlm.sampling.base import Predictor


class GuidedPredictor:
    """A head under guidance. Implements ``Predictor``.

    Args:
        predictor: The head. It is asked about batches of up to twice the rows: row B + b has the layout of row b.
        process: The noising process; mask noise must be part of it.
        given: (B, T) bool, the given tokens.
        weight: w ≥ 0.

    Raises:
        PairingError: The process has no mask token that could stand for a token that is left out.
    """

    def __init__(self, predictor: Predictor, process: Process, given: torch.Tensor, weight: float) -> None:
        check_guidance(process, weight)
        self.predictor, self.given, self.weight = predictor, given, weight
        self.mask_id = process.vocabulary.mask_id
        self.kind: Head = predictor.kind
        self.passes = 1 + given.any(1).long()
        """(B,) int64, network evaluations that each row takes in a call."""

    def predict(self, z: Tokens, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return guided logits (N, K): log-probabilities up to a constant per row."""
        assert isinstance(z, torch.Tensor), "states of a discrete process are ids"
        number, length = z.shape
        twice = (self.passes[rows // length] == 2).nonzero().squeeze(1)
        if not twice.numel():
            return self.predictor.predict(z, t, rows)
        both = torch.cat([z, torch.where(self.given, self.mask_id, z)])
        logits = self.predictor.predict(both, torch.cat([t, t]), torch.cat([rows, rows[twice] + number * length]))
        cond, un = logits[: rows.numel()], logits[rows.numel() :]
        return cond.index_copy(0, twice, guide(cond[twice], un, self.weight))


def check_guidance(process: Process, weight: float) -> None:
    """Refuse a process in which nothing can stand for a token that is left out.

    Raises:
        PairingError: One line.
    """
    if not isinstance(process, DiscreteProcess) or not process.has_mask:
        raise PairingError(
            f"guidance {weight} masks the given tokens, and the noise of process "
            f"{params_name(type(process.params))!r} has no mask token; use guidance 0, or a model that was trained "
            "with mask noise (process mask or mixture)"
        )


def guide(cond: torch.Tensor, un: torch.Tensor, weight: float) -> torch.Tensor:
    """Return un + (w + 1)·(cond − un) of log-probabilities, (N, K); −inf where either is −inf.

    Args:
        cond, un: (N, K) logits.
        weight: w ≥ 0.
    """
    cond, un = cond.log_softmax(-1), un.log_softmax(-1)
    excluded = cond.isneginf() | un.isneginf()
    return torch.where(excluded, -torch.inf, un + (weight + 1.0) * (cond - un))
