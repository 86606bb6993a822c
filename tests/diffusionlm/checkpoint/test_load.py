"""Round trip: what is loaded is what was saved, bit for bit, and what does not fit is refused in one line."""

import json
import re
import subprocess
import sys

import pytest
import torch

from diffusionlm.checkpoint import Best, Checkpoint, load_checkpoint, load_model
from diffusionlm.checkpoint.manifest import MANIFEST, record_files, render_manifest
from diffusionlm.errors import CheckpointError
from diffusionlm.objective import OBJECTIVES
from diffusionlm.process import Layout, MaskProcess
from diffusionlm.tokenizer import BPEParams, ByteParams, build_tokenizer, load_tokenizer
from tests.diffusionlm.checkpoint import doubles
from tests.diffusionlm.tokenizer.families import change, family, write


def bits_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and torch.equal(a[n].view(torch.uint8), b[n].view(torch.uint8)) for n in a
    )


def reseal(folder, name: str, edit) -> None:
    """Edit a JSON file and write a manifest that agrees with it."""
    table = json.loads((folder / name).read_text())
    edit(table)
    (folder / name).write_text(json.dumps(table))
    (folder / MANIFEST).write_bytes(render_manifest(record_files(folder)))


def test_round_trip_is_bit_equal(tmp_path):
    model = doubles.tiny_model(3)
    path = doubles.save(tmp_path, 7, seed=3, best=Best("validation/bits_per_byte", 2.9, 5))
    loaded = load_checkpoint(path)
    assert path == tmp_path / "step-7"
    assert loaded.state == doubles.state(7, Best("validation/bits_per_byte", 2.9, 5))
    assert type(loaded.state.counters["tokens"]) is int
    assert loaded.model == model.params
    assert loaded.vocabulary == doubles.VOCABULARY
    assert loaded.process.model_dump()["schedule"] == {"name": "polynomial", "exponent": 2.5}
    assert loaded.data == {"packing": "packed", "context_length": 8}
    assert bits_equal(loaded.weights("model"), dict(model.state_dict()))
    assert bits_equal(loaded.weights("ema"), {n: v + 1 for n, v in model.state_dict().items()})
    assert bits_equal(loaded.optimizer(), {f"{n}/exp_avg": v * 0 + 0.25 for n, v in model.state_dict().items()})
    counts = loaded.byte_counts()
    assert counts is not None
    assert bits_equal(counts, {"pairs": torch.arange(6).reshape(2, 3)})


def test_the_average_is_the_default_where_there_is_one(tmp_path):
    with_ema = load_checkpoint(doubles.save(tmp_path / "a", 1))
    without = load_checkpoint(doubles.save(tmp_path / "b", 1, ema=False))
    assert bits_equal(with_ema.weights(), with_ema.weights("ema"))
    assert bits_equal(without.weights(), without.weights("model"))
    assert without.ema() == {}
    with pytest.raises(CheckpointError, match="no averaged weights; choose weights = 'model'"):
        without.weights("ema")


def test_objective_parameters_are_validated_by_the_callers_registry(tmp_path):
    loaded = load_checkpoint(doubles.save(tmp_path, 1))
    params = loaded.objective_params(OBJECTIVES.union(default="nelbo"))
    assert params == OBJECTIVES["llada"].Params.model_validate({"times": {"t_range": (0.1, 0.9)}})


@pytest.mark.parametrize("changes", [{}, {"tied": True, "time_conditioning": True}], ids=["plain", "tied, timed"])
def test_loaded_model_computes_the_same_states(tmp_path, changes):
    model = doubles.tiny_model(2, **changes).eval()
    loaded = load_model(load_checkpoint(doubles.save(tmp_path, 1, seed=2, **changes)), weights="model")
    x, t = torch.randint(0, 18, (2, 8)), torch.full((2, 8), 0.5)
    assert not loaded.training
    assert torch.equal(loaded.logits(loaded(x, t, Layout())), model.logits(model(x, t, Layout())))


def test_load_model_casts_and_build_process_uses_the_saved_parameters(tmp_path):
    checkpoint = load_checkpoint(doubles.save(tmp_path, 1))
    assert {p.dtype for p in load_model(checkpoint, dtype=torch.float64).parameters()} == {torch.float64}
    process = checkpoint.build_process()
    assert isinstance(process, MaskProcess)
    assert process.schedule.kappa(torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(0.5**2.5)


def test_saving_needs_no_state_beyond_the_folder(tmp_path):
    path = doubles.save(tmp_path / "run" / "checkpoints", 3)
    moved = tmp_path / "elsewhere"
    path.rename(moved)
    assert load_checkpoint(moved).state.step == 3


def test_no_optimizer_means_no_resume(tmp_path):
    path = doubles.save(tmp_path, 1)
    (path / "optimizer.safetensors").unlink()
    (path / MANIFEST).write_bytes(render_manifest(record_files(path)))
    with pytest.raises(CheckpointError, match="no optimizer state; it can be sampled but not resumed"):
        load_checkpoint(path).optimizer()


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("config.json", lambda c: c["model"].update(width=-4), r"model\.width: .*greater than or equal to 8"),
        ("config.json", lambda c: c["model"].update(flavour=1), r"model\.flavour: Extra inputs are not permitted"),
        ("config.json", lambda c: c["process"].update(name="blur"), r"process: .*'blur'|process\.name: .*'mask'"),
        ("config.json", lambda c: c.pop("vocabulary"), r"config\.json has no 'vocabulary'"),
        ("config.json", lambda c: c["vocabulary"].update(mask_id=99), r"vocabulary: .*mask id 99"),
        ("config.json", lambda c: c["model"].update(layers=2), None),
        ("config.json", lambda c: c["model"].update(width=32), None),
        ("state.json", lambda s: s.update(step="soon"), r"state\.step: .*integer"),
        ("state.json", lambda s: s.update(mood="good"), r"state\.mood"),
    ],
)
def test_parameters_that_do_not_fit_are_one_line(tmp_path, name, edit, message):
    path = doubles.save(tmp_path, 1)
    reseal(path, name, edit)
    with pytest.raises(CheckpointError) as caught:
        load_model(load_checkpoint(path))
    text = str(caught.value)
    assert "\n" not in text
    assert re.search(message or r"tensor '.*' does not fit the model that config\.json describes", text), text


def test_a_pickle_in_place_of_weights_is_refused(tmp_path):
    path = doubles.save(tmp_path, 1)
    torch.save({"embedding": torch.zeros(2)}, path / "model.safetensors")
    (path / MANIFEST).write_bytes(render_manifest(record_files(path)))
    with pytest.raises(CheckpointError, match="not a tensor file"):
        load_checkpoint(path).weights("model")


def test_another_tokenizer_is_refused(tmp_path, monkeypatch):
    class Other(doubles.FileTokenizer):
        def fingerprint(self) -> str:
            return "0" * 64

    path = doubles.save(tmp_path, 1)
    monkeypatch.setattr("diffusionlm.tokenizer.load_tokenizer", lambda folder: Other())
    with pytest.raises(CheckpointError, match="tokenizer is not the one of the weights"):
        load_checkpoint(path).tokenizer()


@pytest.mark.parametrize("params", [ByteParams(), BPEParams(vocab_size=265)], ids=["byte", "bpe"])
def test_the_tokenizer_comes_back_from_the_folder(tmp_path, params):
    tokenizer = build_tokenizer(params, lambda: ["the cat sat on the mat " * 20])
    loaded = load_checkpoint(doubles.save(tmp_path, 1, tokenizer=tokenizer)).tokenizer()
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.encode("the naïve cat") == tokenizer.encode("the naïve cat")


@pytest.mark.parametrize(("name", "place", "value"), [("llama3", "version", "1.0"), ("qwen3", "model.unk_token", "a")])
def test_a_tokenizer_json_comes_back_from_the_folder(tmp_path, name, place, value):
    """By our own encoder and by the package's."""
    tokenizer = load_tokenizer(write(tmp_path / "some.json", change(family(name), place, value)))
    loaded = load_checkpoint(doubles.save(tmp_path, 1, tokenizer=tokenizer)).tokenizer()
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.encode("the nai\u0308ve zebra <think>") == tokenizer.encode("the nai\u0308ve zebra <think>")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, diffusionlm.checkpoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_checkpoint_is_a_value(tmp_path):
    path = doubles.save(tmp_path, 1)
    assert load_checkpoint(path) == load_checkpoint(path)
    with pytest.raises(AttributeError):
        load_checkpoint(path).path = tmp_path  # type: ignore[misc]
    assert isinstance(load_checkpoint(path), Checkpoint)
