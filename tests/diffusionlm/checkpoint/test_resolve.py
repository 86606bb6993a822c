"""What a user may type for a checkpoint, and what each wrong thing says."""

import pytest

from diffusionlm.checkpoint import Best, resolve_checkpoint
from diffusionlm.errors import CheckpointError
from tests.diffusionlm.checkpoint import doubles


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for step in (10, 20, 30):
        doubles.save(folder / "checkpoints", step, best=Best("validation/bits_per_byte", 3.0, 20))
    return folder


def test_every_way_to_name_one(run):
    newest = run / "checkpoints" / "step-30"
    assert resolve_checkpoint(run).path == newest
    assert resolve_checkpoint(str(run)).path == newest
    assert resolve_checkpoint(run / "checkpoints").path == newest
    assert resolve_checkpoint(f"{run}@best").path == run / "checkpoints" / "step-20"
    assert resolve_checkpoint(f"{run}/checkpoints@best").path == run / "checkpoints" / "step-20"
    assert resolve_checkpoint(run / "checkpoints" / "step-10").path == run / "checkpoints" / "step-10"
    assert resolve_checkpoint(run).skipped == ()


def test_a_copied_step_folder_of_any_name(run, tmp_path):
    (run / "checkpoints" / "step-10").rename(tmp_path / "published")
    assert resolve_checkpoint(tmp_path / "published").path == tmp_path / "published"


def test_a_damaged_newest_is_skipped_and_reported(run):
    (run / "checkpoints" / "step-30" / "model.safetensors").write_bytes(b"")
    resolved = resolve_checkpoint(run)
    assert resolved.path == run / "checkpoints" / "step-20"
    assert [s.path.name for s in resolved.skipped] == ["step-30"]
    assert "model.safetensors is truncated" in resolved.skipped[0].reason


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere does not exist; give a run folder or one of its checkpoints/step-N folders"),
        ("nowhere@best", "nowhere does not exist"),
        ("file.txt", "file.txt is a file; give a run folder"),
        ("empty", "empty holds no checkpoint"),
        ("run/checkpoints/step-10@best", "is one checkpoint; @best goes after a run folder"),
        ("fresh@best", "records no best step"),
        ("lost@best", "step-1, is gone; leave out @best to use step-2"),
        ("torn", "no good checkpoint in .*torn/checkpoints: .*step-1: state.json is missing"),
        ("torn/checkpoints/step-1", "state.json is missing"),
    ],
)
def test_wrong_names_are_one_line(run, tmp_path, name, message):
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    doubles.save(tmp_path / "fresh" / "checkpoints", 1)
    doubles.save(tmp_path / "lost" / "checkpoints", 2, best=Best("m", 1.0, 1))
    (doubles.save(tmp_path / "torn" / "checkpoints", 1) / "state.json").unlink()
    with pytest.raises(CheckpointError, match=message) as caught:
        resolve_checkpoint(str(tmp_path / name))
    assert "\n" not in str(caught.value)
