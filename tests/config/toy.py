"""A small configuration that has one of everything that real ones have, which tests the loader apart from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from diffusionlm.errors import PairingError
from diffusionlm.params import Strict
from diffusionlm.registry import Registry


class Rule:
    Params: ClassVar[type[Strict]]


class SlowParams(Strict):
    name: Literal["slow"] = "slow"
    rate: float = Field(default=0.1, gt=0)
    """How far a step goes."""
    betas: tuple[float, float] = (0.9, 0.95)


class Slow(Rule):
    Params = SlowParams


class FastParams(Strict):
    name: Literal["fast"] = "fast"
    momentum: float = 0.9


class Fast(Rule):
    Params = FastParams


RULES: Registry[Rule] = Registry("rule", Rule, globals())
AnyRule: Any = RULES.union("slow")


class LoopParams(Strict):
    steps: int = Field(default=10, gt=0)
    """Steps to take."""
    share: int | float = 0.5
    compile: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    folder: Path | None = None
    prompts: tuple[str, ...] = ("",)
    warmup: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup > self.steps:
            raise ValueError(f"warmup = {self.warmup} is more than steps = {self.steps}")
        return self


class ToyParams(Strict):
    loop: LoopParams = LoopParams()
    """The loop."""
    rule: AnyRule = SlowParams()
    """The rule."""
    other: AnyRule | None = None
    rules: tuple[AnyRule, ...] = ()
    title: str = "toy"

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.title == "unpaired":
            raise PairingError("a title and a rule that do not fit")
        return self


class NeedyParams(Strict):
    path: Path
    loop: LoopParams = LoopParams()
