"""The trained Transformer as a head: logits at the positions that a sampler asks for, and no other work.

Rows of the batch in which nothing is asked for are left out of the forward pass, and only the wanted states reach the
head, so that (B, T, K) logits never exist. What the network is shown of a canvas is the process's to say
(``Process.canvas_view``), and so is which columns are finished for good (``Process.settled``): where some are, their
keys and values are kept and a pass runs over the others alone.
"""

from __future__ import annotations

from typing import Protocol

from diffusionlm.errors import DivergedError
from diffusionlm.lazy import torch
from diffusionlm.model.cache import KVCache, NewColumns
from diffusionlm.process import Layout, Process
from diffusionlm.process.base import Tokens, View
from diffusionlm.process.discrete import DiscreteProcess
from diffusionlm.process.head import Head, add_dense_evidence, convert_head
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


class CachingNetwork(Network, Protocol):
    """A network that can keep keys and values."""

    def __call__(
        self,
        x_t: Tokens,
        t: torch.Tensor | None,
        layout: Layout,
        rows: torch.Tensor | None = None,
        new: NewColumns | None = None,
    ) -> torch.Tensor:
        """Return (N, D) final states of the flat positions ``rows`` of ``x_t`` (B, T), the ``new`` columns."""
        ...

    def new_cache(self, batch: int, length: int) -> KVCache:
        """Return an empty cache."""
        ...


def build_predictor(model: CachingNetwork, layout: Layout, process: Process, cache: bool) -> Predictor:
    """Return the head over canvases of one layout, with a cache where it is wanted and the process allows it."""
    keeps = type(process).settled is not Process.settled
    return CachedPredictor(model, layout, process) if cache and keeps else ModelPredictor(model, layout, process)


class ModelPredictor:
    """A model over canvases of one layout. Implements ``Predictor``.

    Args:
        model: In evaluation mode, on the device of the canvases or on one without float64 beside it.
        layout: Segments of the canvases (0 = padding), or none where every row is full. A batch of a multiple of its
            rows repeats it.
        process: Says what the network is shown of a canvas; None = the canvas itself.
    """

    def __init__(self, model: Network, layout: Layout, process: Process | None = None) -> None:
        self.model, self.layout, self.process = model, layout, process
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
        if isinstance(z, torch.Tensor) and samples.numel() < z.shape[0]:
            rows = renumbered(samples, z.shape[0])[rows // length] * length + rows % length
            z, t = z[samples], t[samples]
        layout = self._layout_of(samples) if isinstance(z, torch.Tensor) else self.layout
        view = View(z, t, layout) if self.process is None else self.process.canvas_view(z, t, layout)
        with torch.no_grad():
            logits = self.model.logits(self.model(view.tokens, view.t, view.layout, rows))
        return checked(logits, rows.device)

    def _layout_of(self, samples: torch.Tensor) -> Layout:
        """Return the layout of some rows of a batch (S,)."""
        segments, positions = self.layout.segments, self.layout.positions
        return Layout(
            segments=None if segments is None else segments[samples % segments.shape[0]],
            positions=None if positions is None else positions[samples % positions.shape[0]],
            causal=self.layout.causal,
        )


class CachedPredictor:
    """A model over canvases whose finished columns are computed once. Implements ``Predictor``, for one run.

    A pass takes the columns that the wanted positions see and that are not kept yet. Those that the process calls
    settled are kept from then on, so that a finished block (or token) enters together with the first call of the next
    one and costs no call of its own.

    Args:
        model: In evaluation mode, on the device of the canvases.
        layout: Segments of the canvases (0 = padding), or none where every row is full.
        process: Its ``canvas_view`` is causal or block-causal and its ``settled`` says which columns are finished.
    """

    def __init__(self, model: CachingNetwork, layout: Layout, process: Process) -> None:
        self.model, self.layout, self.process = model, layout, process
        self.kind: Head = model.kind
        self.cache: KVCache | None = None

    def predict(self, z: Tokens, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) at the flat indices ``rows`` (N,); arguments as in ``ModelPredictor``."""
        assert isinstance(z, torch.Tensor), "only the states of a process over ids are kept"
        batch, length = z.shape
        cache = self.cache = self.cache or self.model.new_cache(batch, length)
        view, settled = self.process.canvas_view(z, t, self.layout), self.process.settled(z, t)
        assert isinstance(view.tokens, torch.Tensor)
        assert settled is not None, "a process without settled columns has nothing to keep"
        needed = self._seen(view.layout, rows, batch, length) & ~cache.valid
        # A wanted position is computed even where its column is kept: its state is not.
        needed.view(-1)[rows] = True
        samples = (rows // length).unique_consecutive()
        columns, index = packed(needed[samples])
        at = index.flatten()[renumbered(samples, batch)[rows // length] * length + rows % length]
        at = at + renumbered(samples, batch)[rows // length] * columns.shape[1]
        whole = samples.numel() == batch
        new = NewColumns(cache, None if whole else samples, columns, int(columns.max()) + 1)
        layout = view.layout if whole else view.layout.rows(samples)
        tokens, times = view.tokens[samples].gather(1, columns), view.t[samples].gather(1, columns)
        with torch.no_grad():
            logits = self.model.logits(self.model(tokens, times, layout, at, new))
        cache.valid |= needed & settled
        return checked(logits, rows.device)

    def _seen(self, layout: Layout, rows: torch.Tensor, batch: int, length: int) -> torch.Tensor:
        """Return (B, T) bool: the columns that some wanted position sees, directly or through others."""
        place = torch.arange(length, device=rows.device).expand(batch, length)
        rank = place if layout.blocks is None else layout.blocks
        assert layout.causal or layout.blocks is not None, "a column that sees later ones cannot be kept"
        last = torch.full((batch,), -1, device=rows.device).scatter_reduce(
            0, rows // length, rank.flatten()[rows], reduce="amax"
        )
        seen = rank <= last[:, None]
        return seen if layout.segments is None else seen & (layout.segments > 0)


def checked(logits: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return the logits where samplers compute, and in the precision that they compute in.

    Raises:
        DivergedError: A logit is not a number or infinitely large. Without the check a sampler would fail further on,
            or return text that no weight stands behind.
    """
    if logits.numel() and not bool(logits.amax() < torch.inf):
        raise DivergedError(
            "the network's answer is not a number: its training diverged; train again with a lower learning rate, or "
            "sample an earlier checkpoint"
        )
    return (logits if logits.dtype == torch.float64 else logits.float()).to(device)


def renumbered(samples: torch.Tensor, batch: int) -> torch.Tensor:
    """Return (B,) int64: the place of each of the chosen rows of a batch among them; 0 at the others."""
    new = torch.zeros(batch, dtype=torch.int64, device=samples.device)
    new[samples] = torch.arange(samples.numel(), device=samples.device)
    return new


def packed(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the chosen columns of each row, (R, N) int64, and the place of each column among them, (R, T) int64.

    N is the most that a row has; a row with fewer repeats its last one, whose repetition changes nothing.

    Args:
        chosen: (R, T) bool, at least one in every row.
    """
    count = chosen.sum(1)
    order = (~chosen).long().argsort(dim=1, stable=True)
    place = torch.arange(int(count.max()), device=chosen.device).expand(len(chosen), -1)
    return order.gather(1, torch.minimum(place, count[:, None] - 1)), chosen.long().cumsum(1) - 1


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
        return turned(logits, z, t, rows, self.process, self.predictor.kind, self.kind)


def turned(
    logits: torch.Tensor, z: Tokens, t: torch.Tensor, rows: torch.Tensor, process: Process, have: Head, want: Head
) -> torch.Tensor:
    """Return logits (N, K) of the head that is wanted, at the flat indices ``rows`` (N,).

    Args:
        logits: (N, K), of the head that there is.
        z: (B, T) int64 canvases, or states on the simplex.
        t: (B, T) float64, the times at which the tokens stand there: within blocks, those of each block.
        rows: (N,) int64.
        process: Knows what a token tells of itself.
        have, want: The heads.
    """
    if have == want:
        return logits
    if not isinstance(z, torch.Tensor):
        return add_dense_evidence(logits, z.evidence(rows, logits.dtype), have, want)
    assert isinstance(process, DiscreteProcess), "states that are ids belong to a discrete process"
    return convert_head(logits, z.flatten()[rows], process.noise(t.flatten()[rows]), process.vocabulary, have, want)
