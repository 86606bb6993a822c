"""NVTX ranges cost nothing when off, and push and pop in pairs when on."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from diffusionlm.runlog import NULL_RANGE, Nvtx


def test_off_is_always_the_same_null_object():
    nvtx = Nvtx(False)
    assert (nvtx.on, nvtx.note) == (False, None)
    assert nvtx.range("forward") is nvtx.range("backward") is NULL_RANGE
    with nvtx.range("outer"), nvtx.range("inner") as value:
        assert value is None


def test_off_imports_no_torch():
    code = (
        "import sys; from diffusionlm.runlog import Nvtx\nwith Nvtx(False).range('a'): sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_cuda_it_stays_off_and_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nvtx = Nvtx(True)
    assert nvtx.range("forward") is NULL_RANGE
    assert nvtx.note == "nvtx ranges need a CUDA device; none here, so none are marked"


def test_on_pushes_and_pops_also_when_the_block_fails(monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", lambda name: calls.append(f"+{name}"))
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: calls.append("-"))
    nvtx = Nvtx(True)
    assert (nvtx.on, nvtx.note) == (True, None)

    def fail() -> None:
        with nvtx.range("step"), nvtx.range("forward"):
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert calls == ["+step", "+forward", "-", "-"]
