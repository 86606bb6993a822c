"""Memory history: a no-op with a clear word without CUDA, and the right calls with it."""

from __future__ import annotations

import pytest
import torch

from diffusionlm.runlog import MemoryHistory


def test_without_cuda_nothing_happens_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    history = MemoryHistory(True)
    assert history.note == "memory history needs a CUDA device; none here, so none is kept"
    history.start()
    assert history.dump(tmp_path / "deep" / "memory.pickle") is False
    history.stop()
    assert list(tmp_path.iterdir()) == []


def test_off_is_silent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    history = MemoryHistory(False)
    assert (history.on, history.note) == (False, None)


def test_with_cuda_it_records_and_dumps(tmp_path, monkeypatch):
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr(torch.cuda.memory, "_dump_snapshot", calls.append)
    history = MemoryHistory(True)
    history.start()
    assert history.dump(tmp_path / "deep" / "memory.pickle") is True
    history.stop()
    assert calls == [{"max_entries": 100_000}, str(tmp_path / "deep" / "memory.pickle"), {"enabled": None}]
    assert (tmp_path / "deep").is_dir()


@pytest.mark.gpu
def test_a_snapshot_is_written_on_a_gpu(tmp_path):
    history = MemoryHistory(True)
    history.start()
    torch.zeros(1000, device="cuda")
    assert history.dump(tmp_path / "memory.pickle")
    history.stop()
    assert (tmp_path / "memory.pickle").stat().st_size > 0
