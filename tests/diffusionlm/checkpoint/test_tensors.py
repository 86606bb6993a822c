"""Names, ties, views and dtypes survive the tensor files."""

import pytest
import torch

from diffusionlm.checkpoint.tensors import read_tensors, stable_name, write_tensors
from diffusionlm.errors import CheckpointError


@pytest.mark.parametrize(
    "raw", ["layers.0.up.weight", "_orig_mod.layers.0.up.weight", "module._orig_mod.layers.0._orig_mod.up.weight"]
)
def test_names_are_stable_under_wrappers(raw):
    assert stable_name(raw) == "layers.0.up.weight"
    assert stable_name(f"{raw}/exp_avg") == "layers.0.up.weight/exp_avg"


def test_a_tied_tensor_is_stored_once_and_comes_back_shared(tmp_path):
    weight = torch.randn(64, 32)
    write_tensors(tmp_path / "tied", {"embedding": weight, "head": weight, "other": weight.clone()})
    write_tensors(tmp_path / "one", {"embedding": weight, "other": weight.clone()})
    extra = (tmp_path / "tied").stat().st_size - (tmp_path / "one").stat().st_size
    assert extra < 100, "the tied tensor was written twice"
    loaded = read_tensors(tmp_path / "tied")
    assert torch.equal(loaded["head"], weight)
    assert loaded["head"] is loaded["embedding"]
    assert loaded["other"] is not loaded["embedding"]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8]
)
def test_dtypes_and_values_are_kept(tmp_path, dtype):
    value = torch.tensor([[0.0, 1.0, 2.0]]).to(dtype)
    write_tensors(tmp_path / "x", {"a": value, "scalar": value[0, 1], "none": value[:, :0]})
    loaded = read_tensors(tmp_path / "x")
    assert {n: t.dtype for n, t in loaded.items()} == dict.fromkeys(("a", "scalar", "none"), dtype)
    assert torch.equal(loaded["a"], value)
    assert loaded["scalar"].shape == ()
    assert loaded["none"].shape == (1, 0)


def test_special_floats_keep_their_bits(tmp_path):
    value = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    write_tensors(tmp_path / "x", {"a": value})
    assert torch.equal(read_tensors(tmp_path / "x")["a"].view(torch.int32), value.view(torch.int32))


def test_views_into_one_buffer_and_transposes(tmp_path):
    buffer = torch.arange(12.0)
    tensors = {"left": buffer[:6], "right": buffer[6:], "transposed": buffer.view(3, 4).t()}
    write_tensors(tmp_path / "x", tensors)
    loaded = read_tensors(tmp_path / "x")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_gradients_do_not_matter_and_parameters_load_as_tensors(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    write_tensors(tmp_path / "x", {"p": parameter})
    assert not read_tensors(tmp_path / "x")["p"].requires_grad


def test_two_wrappers_of_one_name_are_a_fault(tmp_path):
    with pytest.raises(AssertionError, match="two tensors are called 'a'"):
        write_tensors(tmp_path / "x", {"a": torch.ones(1), "module.a": torch.zeros(1)})


@pytest.mark.parametrize("raw", [b"", b"not tensors", b"\xff" * 64])
def test_other_files_are_refused(tmp_path, raw):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(CheckpointError, match="not a tensor file"):
        read_tensors(tmp_path / "x")
