"""Machine code is kept by the sources of all compiled functions, so that none runs on with old code of another file."""

import os
import time
from pathlib import Path

import pytest
from numba.core import config

from diffusionlm.tokenizer.compiled import jit, scan


def test_the_name_follows_every_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "b.py").write_text("y = 1")
    before = jit.folder_name(tmp_path)
    (tmp_path / "note.txt").write_text("no source")
    assert jit.folder_name(tmp_path) == before
    (tmp_path / "b.py").write_text("y = 2")
    changed = jit.folder_name(tmp_path)
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    assert len({before, changed, jit.folder_name(tmp_path)}) == 3


def test_compiled_functions_are_kept_there_and_numba_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", "somewhere else", raising=False)
    double = jit.compiled()(lambda x: 2 * x)
    assert Path(double._cache.cache_path).is_relative_to(jit.cache_folder())
    assert Path(scan.cut_words._cache.cache_path).is_relative_to(jit.cache_folder())
    assert config.CACHE_DIR == "somewhere else"  # pyright: ignore[reportAttributeAccessIssue]


def test_numbas_own_setting_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path), raising=False)
    assert jit.cache_folder.__wrapped__() == tmp_path / jit.folder_name(Path(jit.__file__).parent)


def test_only_old_code_of_other_sources_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that began before the sources changed still writes to its folder."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path), raising=False)
    long_ago = time.time() - 1.1 * jit.STALE_SECONDS
    for name in ("numba-old", "numba-live", "other"):
        (tmp_path / name / "code").mkdir(parents=True)
        for path in (tmp_path / name / "code", tmp_path / name):
            os.utime(path, (long_ago, long_ago))
    os.utime(tmp_path / "numba-live" / "code")
    jit.cache_folder.__wrapped__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["numba-live", "other"]
