"""From text to batches: sources, the held-out split, token stores and shards, the global row order, streams.

    source → documents → split → tokens (memory, cache or shards) → rows in one global order → steps of micro-batches

The training step sees only ``Batch`` and a cursor of a few integers; every other choice is behind ``DataParams``.
"""

from diffusionlm.data.sources import SOURCES, Source

__all__ = ["SOURCES", "Source"]
