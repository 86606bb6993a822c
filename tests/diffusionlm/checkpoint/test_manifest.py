"""Damage of every kind to every file is seen, named, and told in one line."""

import json

import pytest

from diffusionlm.checkpoint import load_checkpoint, verify
from diffusionlm.checkpoint.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    FileRecord,
    is_safe_name,
    list_files,
    record_files,
    render_manifest,
)
from diffusionlm.errors import CheckpointError
from tests.diffusionlm.checkpoint import doubles

FILES = [
    "byte_counts.safetensors",
    "config.json",
    "ema.safetensors",
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "tokenizer/tokenizer.json",
]


@pytest.fixture
def path(tmp_path):
    return doubles.save(tmp_path, 1)


def refusal(folder) -> str:
    """Return the message with which both verify and load refuse a folder."""
    messages = []
    for opener in (verify, load_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            opener(folder)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert str(folder) in messages[0]
    return messages[0]


def test_the_files_are_these(path):
    assert list_files(path) == FILES
    assert set(verify(path)) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_truncated(path, name):
    whole = (path / name).read_bytes()
    for keep in (0, len(whole) // 2, len(whole) - 1):
        (path / name).write_bytes(whole[:keep])
        assert f"{name} is truncated ({keep} bytes, {len(whole)} written)" in refusal(path)
    (path / name).write_bytes(whole + b"\0")
    assert f"{name} is too long" in refusal(path)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit(path, name):
    whole = (path / name).read_bytes()
    for place in {0, len(whole) // 3, len(whole) - 1}:
        for bit in (0, 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            (path / name).write_bytes(damaged)
            assert f"{name} is corrupted" in refusal(path)
    (path / name).write_bytes(whole)
    verify(path)


@pytest.mark.parametrize("name", FILES)
def test_missing(path, name):
    (path / name).unlink()
    assert f"{name} is missing" in refusal(path)


def test_every_bit_of_the_manifest_counts(path):
    whole = (path / MANIFEST).read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        (path / MANIFEST).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
            verify(path)
    for keep in (0, 1, len(whole) // 2, len(whole) - 1):
        (path / MANIFEST).write_bytes(whole[:keep])
        assert "manifest.json is damaged" in refusal(path)
    (path / MANIFEST).unlink()
    assert "manifest.json is missing, so it was never finished" in refusal(path)


def test_a_file_too_many(path):
    (path / "extra.bin").write_bytes(b"?")
    assert "extra.bin is not part of the checkpoint; move it elsewhere" in refusal(path)
    (path / "extra.bin").rename(path / ".DS_Store")
    verify(path)


def test_another_format_version(path):
    (path / MANIFEST).write_bytes(render_manifest(record_files(path), version=FORMAT_VERSION + 1))
    assert f"format version {FORMAT_VERSION + 1}, but this flowlm reads version {FORMAT_VERSION}; open it with" in (
        refusal(path)
    )


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\b", "C:a", "", ".", ".hidden", "a/.b", "a\nb"]
)
def test_hostile_names_are_refused(path, name):
    assert not is_safe_name(name)
    (path / MANIFEST).write_bytes(render_manifest({**record_files(path), name: FileRecord("0" * 64, 1)}))
    assert f"manifest.json names {name!r}, outside the folder" in refusal(path)


@pytest.mark.parametrize("name", FILES)
def test_our_own_names_are_safe(name):
    assert is_safe_name(name)


@pytest.mark.parametrize("files", [[], {"a": 1}, {"a": {"sha256": "x"}}, {"a": {"sha256": "x", "size": "many"}}, None])
def test_a_manifest_of_another_shape(path, files):
    from diffusionlm.checkpoint import manifest

    (path / MANIFEST).write_bytes(manifest._render({"format_version": FORMAT_VERSION, "files": files}))
    assert "manifest.json is damaged" in refusal(path)


def test_rendering_is_canonical_json():
    raw = render_manifest({"b": FileRecord("1" * 64, 2), "a": FileRecord("0" * 64, 1)})
    assert raw == render_manifest({"a": FileRecord("0" * 64, 1), "b": FileRecord("1" * 64, 2)})
    assert json.loads(raw)["files"]["b"] == {"sha256": "1" * 64, "size": 2}
