"""The trained Transformer as a head: logits at the positions that a sampler asks for, and no other work.

Rows of the batch in which nothing is asked for are left out of the forward pass, and only the wanted states reach the
head, so that (B, T, K) logits never exist.
"""

from __future__ import annotations

from typing import Protocol

from diffusionlm.lazy import torch
from diffusionlm.process import Layout, Process
from diffusionlm.process.base import Tokens
from diffusionlm.process.discrete import DiscreteProcess
from diffusionlm.process.head import Head, add_evidence, convert_head
from diffusionlm.sampling.base import Predictor


class Network(Protocol):
    """What prediction needs of a model; see ``diffusionlm.model.transformer.Transformer``."""

    @property
    def kind(self) -> Head:
        """Which predictive its logits are."""
        ...

    def __call__(
        self, x_t: Tokens, t: torch.Tensor | None, layout: Layout, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return (N, D) final states of the flat positions ``rows`` of ``x_t`` (B, T)."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (N, K) logits of (N, D) states."""
        ...


class ModelPredictor:
    """A model over canvases of one layout. Implements ``Predictor``.

    Args:
        model: In evaluation mode, on the device of the canvases.
        layout: Segments of the canvases (0 = padding), or none where every row is full.
    """

    def __init__(self, model: Network, layout: Layout) -> None:
        self.model = model
        self.layout = layout
        self.kind: Head = model.kind

    def predict(self, z: Tokens, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) at the flat indices ``rows`` (N,); float32, or float64 if the model computes in it.

        Args:
            z: (B, T) int64 canvases, or a state on the simplex.
            t: (B, T) float64 times.
            rows: (N,) int64 flat indices into B·T, ascending.
        """
        length = z.shape[1]
        samples = (rows // length).unique_consecutive()
        layout = self.layout
        if isinstance(z, torch.Tensor) and samples.numel() < z.shape[0]:
            new_row = torch.zeros(z.shape[0], dtype=torch.int64, device=z.device)
            new_row[samples] = torch.arange(samples.numel(), device=z.device)
            rows = new_row[rows // length] * length + rows % length
            z, t = z[samples], t[samples]
            layout = Layout(
                segments=None if layout.segments is None else layout.segments[samples],
                positions=None if layout.positions is None else layout.positions[samples],
                causal=layout.causal,
            )
        with torch.no_grad():
            logits = self.model.logits(self.model(z, t, layout, rows))
        return logits if logits.dtype == torch.float64 else logits.float()


class ConvertedPredictor:
    """A head turned into the other kind, by Bayes' rule. Implements ``Predictor``.

    Args:
        predictor: The head that there is.
        process: Discrete: its ν_t at the time that the network is told says what a token tells of itself. Otherwise
            the state on the simplex says it.
        want: The kind that is wanted.
    """

    def __init__(self, predictor: Predictor, process: Process, want: Head) -> None:
        self.predictor, self.process = predictor, process
        self.kind: Head = want

    def predict(self, z: Tokens, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of the wanted kind."""
        logits = self.predictor.predict(z, t, rows)
        if not isinstance(z, torch.Tensor):
            return add_evidence(logits, z.evidence(rows, logits.dtype), self.predictor.kind, self.kind)
        assert isinstance(self.process, DiscreteProcess), "states that are ids belong to a discrete process"
        noise = self.process.noise(t.flatten()[rows])
        return convert_head(logits, z.flatten()[rows], noise, self.process.vocabulary, self.predictor.kind, self.kind)
