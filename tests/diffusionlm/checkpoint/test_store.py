"""A checkpoint appears whole or not at all, whatever happens in the middle."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffusionlm.checkpoint import (
    clean_leftovers,
    discard_newer,
    list_checkpoints,
    newest_good,
    retain,
    store,
    verify,
)
from diffusionlm.checkpoint.store import staged, step_of
from diffusionlm.errors import CheckpointError, TokenizerError
from tests.diffusionlm.checkpoint import doubles

ROOT = Path(__file__).resolve().parents[3]

SAVE_FOR_EVER = """
import os, sys
from pathlib import Path
from diffusionlm.checkpoint.store import staged
folder, step = Path(sys.argv[1]), 2
print("ready", flush=True)
while True:
    with staged(folder, step) as temporary:
        (temporary / "tokenizer").mkdir()
        for name in ("a.bin", "tokenizer/b.bin", "c.bin"):
            (temporary / name).write_bytes(os.urandom(200_000))
    step += 1
    if step > 6:
        step = 2
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def small_save(folder: Path, step: int, size: int = 100) -> Path:
    with staged(folder, step) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "a.bin").write_bytes(os.urandom(size))
        (temporary / "sub" / "b.bin").write_bytes(os.urandom(size))
    return folder / f"step-{step}"


def interrupted_save(folder: Path, step: int, error: type[BaseException]) -> None:
    with staged(folder, step) as temporary:
        (temporary / "a").write_text("half")
        raise error


def test_listing_is_by_number_and_ignores_the_rest(tmp_path):
    for step in (100, 9, 20):
        small_save(tmp_path, step)
    for other in ("step-x", "step-007", "step-5.bak", "notes", ".step-1.tmp-1"):
        (tmp_path / other).mkdir()
    (tmp_path / "step-3").write_text("a file, not a folder")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-9", "step-20", "step-100"]
    assert [step_of(path) for path in list_checkpoints(tmp_path)] == [9, 20, 100]
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_damaged_ones_are_named_and_passed_over(tmp_path):
    for step in range(1, 6):
        small_save(tmp_path, step)
    (tmp_path / "step-5" / "a.bin").unlink()
    (tmp_path / "step-4" / "manifest.json").unlink()
    flipped = bytearray((tmp_path / "step-3" / "sub" / "b.bin").read_bytes())
    flipped[7] ^= 1
    (tmp_path / "step-3" / "sub" / "b.bin").write_bytes(flipped)
    found = newest_good(tmp_path)
    assert found.path == tmp_path / "step-2"
    assert [s.path.name for s in found.skipped] == ["step-5", "step-4", "step-3"]
    for skipped, words in zip(
        found.skipped, ["a.bin is missing", "never finished", "sub/b.bin is corrupted"], strict=True
    ):
        assert words in skipped.reason
        assert str(skipped.path) in skipped.reason
        assert "\n" not in skipped.reason
    assert newest_good(tmp_path / "nowhere").path is None


def test_saving_a_step_again_replaces_it(tmp_path):
    first = doubles.contents(small_save(tmp_path, 4))
    second = doubles.contents(small_save(tmp_path, 4))
    assert first != second
    assert doubles.contents(tmp_path / "step-4") == second
    assert names(tmp_path) == ["step-4"]
    verify(tmp_path / "step-4")


def test_a_failure_inside_leaves_nothing_and_keeps_its_traceback(tmp_path):
    small_save(tmp_path, 1)
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            interrupted_save(tmp_path, 2, error)
    assert names(tmp_path) == ["step-1"]


@pytest.mark.slow
def test_sigkill_at_random_moments_never_harms_a_checkpoint(tmp_path):
    before = doubles.contents(small_save(tmp_path, 1))
    seed = time.time_ns()
    moments = random.Random(seed)
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0.0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for path in list_checkpoints(tmp_path):
            verify(path)
        assert doubles.contents(tmp_path / "step-1") == before, f"seed {seed}"
        saved = small_save(tmp_path, 9)
        assert newest_good(tmp_path).path == saved
        assert newest_good(tmp_path).skipped == ()
        assert not [name for name in names(tmp_path) if name.startswith(".")], "leftovers were not cleaned up"


class Killed(BaseException):
    """Stands for the process ending at this very place: nothing after it runs."""


def test_killed_before_each_system_call_of_a_save(tmp_path, monkeypatch):
    """Every write-like call in turn is the last one; the old checkpoints and the replaced one survive all of them."""
    before = {step: doubles.contents(small_save(tmp_path, step)) for step in (1, 2)}
    real = {"rename": Path.rename, "write_bytes": Path.write_bytes, "fsync": os.fsync, "rmtree": shutil.rmtree}
    survived = 0
    for last in range(100):
        count = iter(range(1000))

        def guarded(name, count=count, last=last):
            def call(*args, **kwargs):
                if next(count) >= last:
                    raise Killed
                return real[name](*args, **kwargs)

            return call

        monkeypatch.setattr(Path, "rename", guarded("rename"))
        monkeypatch.setattr(Path, "write_bytes", guarded("write_bytes"))
        monkeypatch.setattr(os, "fsync", guarded("fsync"))
        monkeypatch.setattr(shutil, "rmtree", guarded("rmtree"))
        try:
            small_save(tmp_path, 2)
            finished = True
        except Killed:
            finished = False
        for name, owner in (("rename", Path), ("write_bytes", Path), ("fsync", os), ("rmtree", shutil)):
            monkeypatch.setattr(owner, name, real[name])
        if finished:
            break
        clean_leftovers(tmp_path)
        assert doubles.contents(tmp_path / "step-1") == before[1]
        verify(tmp_path / "step-2")
        assert names(tmp_path) == ["step-1", "step-2"], f"killed before call {last}"
        survived += 1
    assert finished
    assert survived > 8, "fewer places to be killed at than a save has"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["mkdir", "write_bytes", "fsync", "rename"])
def test_a_refused_system_call_leaves_the_rest_intact(tmp_path, monkeypatch, call, code):
    before = {step: doubles.contents(small_save(tmp_path, step)) for step in (1, 2)}

    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(CheckpointError, match=r"cannot save .*step-2: .*; earlier checkpoints are intact") as caught:
        small_save(tmp_path, 2)
    monkeypatch.undo()
    full = code in (errno.ENOSPC, errno.EDQUOT)
    assert ("no space left on the device" in str(caught.value)) == full
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["step-1", "step-2"]
    assert {step: doubles.contents(tmp_path / f"step-{step}") for step in (1, 2)} == before


def test_a_refused_second_rename_puts_the_replaced_one_back(tmp_path, monkeypatch):
    before = doubles.contents(small_save(tmp_path, 2))
    real = Path.rename

    def rename(self, target):
        if ".tmp-" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(CheckpointError, match="no space left"):
        small_save(tmp_path, 2)
    assert names(tmp_path) == ["step-2"]
    assert doubles.contents(tmp_path / "step-2") == before


@pytest.mark.parametrize("limit", [3_000, 20_000])
def test_a_full_disk_while_writing_tensors(tmp_path, limit):
    """A real refusal of a write by the kernel, which the compiled tensor writer reports as text."""
    doubles.save(tmp_path, 1, width=16)
    before = doubles.contents(tmp_path / "step-1")
    code = f"""
import resource, sys
from pathlib import Path
from diffusionlm.errors import CheckpointError, TokenizerError
from tests.diffusionlm.checkpoint import doubles
doubles.tiny_model()
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    doubles.save(Path({str(tmp_path)!r}), 2, width=64)
except CheckpointError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.count("\n") == 1, out.stdout
    assert "step-2: no space left on the device" in out.stdout
    assert names(tmp_path) == ["step-1"]
    assert doubles.contents(tmp_path / "step-1") == before


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    small_save(tmp_path, 1)
    for name in (f".step-8.tmp-{child.pid}", ".step-9.tmp-999999999", ".step-4.trash-999999999", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    small_save(tmp_path, 2)
    assert names(tmp_path) == [".hidden", f".step-8.tmp-{child.pid}", "step-1", "step-2"]
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
    assert [path.name for path in clean_leftovers(tmp_path)] == [f".step-8.tmp-{child.pid}"]


def test_a_replacement_that_never_came_is_undone(tmp_path):
    before = doubles.contents(small_save(tmp_path, 3))
    (tmp_path / "step-3").rename(tmp_path / ".step-3.old-999999999")
    clean_leftovers(tmp_path)
    assert doubles.contents(tmp_path / "step-3") == before
    shutil.copytree(tmp_path / "step-3", tmp_path / ".step-3.old-999999999")
    clean_leftovers(tmp_path)
    assert names(tmp_path) == ["step-3"]


def test_retention_keeps_the_last_and_the_best(tmp_path):
    for step in range(10, 70, 10):
        small_save(tmp_path, step)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-5.bak").mkdir()
    removed = retain(tmp_path, keep_last=2, keep_steps=[20])
    assert sorted(path.name for path in removed) == ["step-10", "step-30", "step-40"]
    assert names(tmp_path) == ["notes.txt", "step-20", "step-5.bak", "step-50", "step-60"]
    assert retain(tmp_path, keep_last=2, keep_steps=[20]) == []


def test_a_damaged_checkpoint_never_pushes_a_good_one_out(tmp_path):
    for step in (1, 2, 3, 4):
        small_save(tmp_path, step)
    (tmp_path / "step-4" / "a.bin").unlink()
    (tmp_path / "step-3" / "manifest.json").unlink()
    retain(tmp_path, keep_last=1)
    assert names(tmp_path) == ["step-2", "step-3", "step-4"]
    assert newest_good(tmp_path).path == tmp_path / "step-2"


def test_retention_of_none_is_refused(tmp_path):
    small_save(tmp_path, 1)
    with pytest.raises(CheckpointError, match="keep_last is 0; keep at least 1"):
        retain(tmp_path, keep_last=0)
    assert names(tmp_path) == ["step-1"]


def test_discard_newer(tmp_path):
    for step in (1, 2, 3):
        small_save(tmp_path, step)
    assert [path.name for path in discard_newer(tmp_path, 1)] == ["step-2", "step-3"]
    assert names(tmp_path) == ["step-1"]


def test_a_replaced_checkpoint_does_not_come_back_once_its_step_is_discarded(tmp_path):
    for step in (1, 2):
        small_save(tmp_path, step)
    shutil.copytree(tmp_path / "step-2", tmp_path / ".step-2.old-999999999")
    discard_newer(tmp_path, 1)
    clean_leftovers(tmp_path)
    assert names(tmp_path) == ["step-1"]


def test_a_full_disk_in_the_tokenizers_own_words(tmp_path):
    """A part that reports a full disk as an error of its own is told the same way."""

    def save() -> None:
        with staged(tmp_path, 1):
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise TokenizerError("cannot write vocab.json") from error

    with pytest.raises(CheckpointError, match=r"cannot save .*step-1: no space left on the device"):
        save()
    assert names(tmp_path) == []


def test_the_best_step_travels_with_the_state(tmp_path):
    from diffusionlm.checkpoint import Best, load_checkpoint

    best = Best("validation/bits_per_byte", 3.1, 2)
    for step in range(1, 6):
        path = doubles.save(tmp_path, step, best=None if step < 2 else best)
        kept = load_checkpoint(path).state.best
        retain(tmp_path, keep_last=1, keep_steps=[] if kept is None else [kept.step])
    assert names(tmp_path) == ["step-2", "step-5"]


def test_files_are_synced_before_the_rename(tmp_path, monkeypatch):
    events = []
    real_fsync, real_rename = store._fsync, Path.rename
    monkeypatch.setattr(store, "_fsync", lambda path: (events.append(("fsync", path.name)), real_fsync(path)))
    monkeypatch.setattr(
        Path, "rename", lambda self, to: (events.append(("rename", Path(to).name)), real_rename(self, to))[1]
    )
    small_save(tmp_path, 1)
    place = events.index(("rename", "step-1"))
    synced = [name for kind, name in events[:place] if kind == "fsync"]
    assert {"a.bin", "b.bin", "sub", "manifest.json", f".step-1.tmp-{os.getpid()}"} <= set(synced)
    assert events[place + 1 :] == [("fsync", tmp_path.name)]
