"""The first ids of a fresh process: those of the vocabulary, and nothing else imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarking.tokenizer import _write, start
from benchmarking.tokenizer_start import TEXT as FIRST
from diffusionlm.tokenizer import train_bpe
from tests.diffusionlm.tokenizer.conftest import TEXT

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["flowlm", "tokenizers", "tiktoken"])
def test_ids_and_imports(name: str, tmp_path: Path) -> None:
    if name != "flowlm":
        pytest.importorskip(name)
    ours = train_bpe([TEXT], 320)
    _write(tmp_path, ours, [TEXT])
    code = (
        "import sys\nfrom benchmarking.tokenizer_start import main\n"
        f"main([{name!r}, {str(tmp_path)!r}])\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    numbers, modules = done.stdout.splitlines()
    assert [int(id) for id in numbers.split()[1:]] == ours.encode(FIRST)
    others = {"torch", "numba", "tokenizers", "tiktoken", "diffusionlm"} - {name}
    if name == "flowlm":
        others -= {"diffusionlm"}
    assert not others & set(modules.split())


def test_a_start_is_a_process(tmp_path: Path) -> None:
    _write(tmp_path, train_bpe([TEXT], 320), [TEXT])
    assert start("flowlm", tmp_path, tmp_path / "cache", compiled=False) > 0
    assert "NUMBA_CACHE_DIR" not in os.environ or os.environ["NUMBA_CACHE_DIR"] != str(tmp_path / "cache")


def test_a_start_that_fails_says_how(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the start of flowlm failed:\n[\s\S]*TokenizerError"):
        start("flowlm", tmp_path / "nowhere", tmp_path, compiled=False)
