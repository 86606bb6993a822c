"""The token ids that a process and a model agree on: K data tokens, the mask token and the rows of the embedding."""

from __future__ import annotations

from dataclasses import dataclass

from diffusionlm.errors import ConfigError


@dataclass(frozen=True)
class Vocabulary:
    """Ids of one model.

    Attributes:
        size: K, the number of data tokens; ids 0 … K − 1, end-of-text included. Only these are ever predicted.
        mask_id: The model row of the mask token m; K unless a converted model keeps one of its own.
        rows: Rows of the embedding table. Rows that are neither data nor mask carry no mass anywhere.

    Raises:
        ConfigError: The mask id names a data token or lies outside the rows.
    """

    size: int
    mask_id: int
    rows: int

    def __post_init__(self) -> None:
        if not 0 <= self.mask_id < self.rows:
            raise ConfigError(
                f"mask id {self.mask_id} is outside the model's {self.rows} rows; "
                f"leave process.mask_id unset to place it after the {self.size} tokens of the vocabulary"
            )
        if self.mask_id < self.size:
            raise ConfigError(
                f"mask id {self.mask_id} is a token of the vocabulary (0 … {self.size - 1}); "
                "leave process.mask_id unset to place it after them"
            )

    @classmethod
    def after(cls, size: int, mask_id: int | None = None) -> Vocabulary:
        """Return the vocabulary of a model trained from scratch: K data tokens, then the mask row."""
        return cls(size=size, mask_id=size if mask_id is None else mask_id, rows=size + 1)
