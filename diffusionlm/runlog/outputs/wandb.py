"""Weights & Biases, online or offline. Nothing that happens there can stop a run.

If the server cannot be reached at the start, the run says so and records offline (``wandb sync`` uploads it later); if
something fails on the way, it says so once and goes on without. The id is kept in the run folder, so that a resumed run
continues the same page.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from diffusionlm.errors import ConfigError
from diffusionlm.params import Strict
from diffusionlm.runlog.outputs.base import Output, RunContext

if TYPE_CHECKING:
    from diffusionlm.runlog.jsonl import Scalar

ID_FILE = "wandb.json"


class WandbParams(Strict):
    """A run on Weights & Biases."""

    name: Literal["wandb"] = "wandb"
    project: str = Field(default="flowlm", min_length=1)
    """Project that the run belongs to."""
    entity: str | None = None
    """User or team; the account's default if not set."""
    run_name: str | None = None
    """Name shown; that of the run folder if not set."""
    tags: tuple[str, ...] = ()
    """Tags of the run."""
    mode: Literal["online", "offline", "disabled"] = "online"
    """offline records in the run folder for a later upload; disabled does nothing."""
    artifacts: bool = False
    """Upload checkpoints and other artifacts."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds to wait for the server at the start before recording offline."""


class Wandb(Output):
    """Metrics over the optimizer step, tables and artifacts, through the ``wandb`` package."""

    Params = WandbParams

    def __init__(self, params: WandbParams, context: RunContext) -> None:
        self.params = params
        self.context = context
        self.broken = False
        self._run: Any = None
        try:
            self._wandb: Any = import_module("wandb")
        except ImportError as error:
            raise ConfigError(
                f"the output 'wandb' needs the wandb package ({error}): install it, or take it out of the outputs"
            ) from error

    def log(self, metrics: Mapping[str, Scalar], step: int) -> None:
        """Send metrics; the step travels as a metric, because a resumed run may repeat steps of the server."""
        self._attempt(lambda run: run.log({**metrics, "step": step}))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]], step: int) -> None:
        """Send one table of these rows alone; earlier tables stay at their steps."""
        data = [list(row) for row in rows]
        self._attempt(lambda run: run.log({name: self._wandb.Table(columns=list(columns), data=data), "step": step}))

    def artifact(self, name: str, path: Path, kind: str) -> None:
        """Send a file or folder if artifacts are wanted."""
        if not self.params.artifacts:
            return

        def send(run: Any) -> None:
            item = self._wandb.Artifact(artifact_name(f"{self.context.name}-{name}"), type=kind)
            if path.is_dir():
                item.add_dir(str(path))
            else:
                item.add_file(str(path))
            run.log_artifact(item)

        self._attempt(send)

    def close(self) -> None:
        """Finish the run; what could not be uploaded stays in the run folder."""
        if self._run is not None:
            self._attempt(lambda run: run.finish(exit_code=0 if sys.exc_info()[0] is None else 1))
            self._run = None

    def _attempt(self, action: Callable[[Any], None]) -> None:
        """Do something with the open run; a failure is told once and ends this output, not the run."""
        if self.broken:
            return
        try:
            if self._run is None:
                self._run = self._open()
            action(self._run)
        except Exception as error:  # whatever a remote service does, training goes on
            self.broken = True
            warn(f"wandb stopped ({one_line(error)}); the run goes on, metrics.jsonl has everything")

    def _open(self) -> Any:
        """Start the run in the wanted mode, or offline if the server does not answer."""
        mode = self.params.mode
        if mode != "online":
            return self._init(mode)
        try:
            return self._init("online")
        except Exception as error:  # no network, no account, no permission: each has its own class
            warn(f"wandb is not reachable ({one_line(error)}); recording offline, upload later with 'wandb sync'")
            self._wandb.teardown()  # the failed start still holds the run's id
            return self._init("offline")

    def _init(self, mode: str) -> Any:
        self.context.folder.mkdir(parents=True, exist_ok=True)
        # Silent from the start: on a terminal without an account the package would stop the run with a question.
        self._wandb.setup(self._wandb.Settings(silent=True))
        run = self._wandb.init(
            project=self.params.project,
            entity=self.params.entity,
            name=self.params.run_name or self.context.name,
            id=run_id(self.context.folder),
            resume="allow" if mode == "online" else None,
            tags=list(self.params.tags),
            dir=str(self.context.folder),
            config=dict(self.context.config),
            mode=mode,
            settings=self._wandb.Settings(**self._settings()),
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run

    def _settings(self) -> dict[str, Any]:
        """Return the settings that keep the package quiet and its waiting bounded."""
        return {"init_timeout": self.params.timeout, "silent": True, "console": "off"}


def run_id(folder: Path) -> str:
    """Return the id of the run in this folder; a new one is made and kept if there is none."""
    path = folder / ID_FILE
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["id"]
    new = secrets.token_hex(8)
    path.write_text(json.dumps({"id": new}) + "\n", encoding="utf-8")
    return new


def artifact_name(name: str) -> str:
    """Return a name that Weights & Biases accepts: letters, digits, dashes, underscores and dots, at most 128."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-128:]


def one_line(error: Exception) -> str:
    """Return an error's class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def warn(text: str) -> None:
    """Tell the user on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
