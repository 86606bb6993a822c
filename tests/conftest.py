"""What tests of every part share: where data files for tests are found, and one thread per test process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Test processes run side by side; without this each of them would take every core. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# nohup ignores SIGHUP, and a shell SIGINT in what it starts with &, for every process that tests start as well; what
# tests see does not depend on how they were started.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from the name of a data file to its path; it skips the test where the file is absent.

    The folder is $FLOWLM_TEST_DATA, else shared/data beside the repository.
    """

    def find(name: str) -> Path:
        named = os.environ.get("FLOWLM_TEST_DATA")
        path = (Path(named) if named else ROOT.parent / "shared" / "data") / name
        if not path.exists():
            pytest.skip(f"no data file {name}; point FLOWLM_TEST_DATA at the folder that has it")
        return path

    return find


_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    """Connect, unless the address is another machine's."""
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a test tried to reach {address}; tests do not use the network")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test off the network and off the user's caches."""
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)
    monkeypatch.setenv("FLOWLM_CACHE", str(tmp_path / "flowlm-cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
