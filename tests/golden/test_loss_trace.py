"""Fifty training steps on the CPU in float32, against the losses that this code is known to give.

A change that moves them is a change of the mathematics, of the data order or of the random streams. Where it is meant,
write the new trace with ``python -m tests.golden.test_loss_trace`` and say why in the commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from diffusionlm.workflows.train import train
from tests.diffusionlm.workflows.runs import configuration, lines_of, write_text

FILE = Path(__file__).with_name("loss_trace.json")
RUNS = {
    "adamw": {},
    "muon": {"optimizer": {"name": "muon"}, "model": {"dropout": 0.1, "time_conditioning": True, "qk_norm": True}},
}


def losses(folder: Path, name: str) -> dict[str, list[float]]:
    """Train and return the loss of every step and every validation."""
    sections = {"training": {"steps": 50, "batch_size": 8}, "validation": {"every": 10, "rows": 8}, **RUNS[name]}
    train(configuration(write_text(folder, documents=60), folder / name, **sections))
    lines = lines_of(folder / name)
    return {key: [line[key] for line in lines if key in line] for key in ("loss", "validation/bits_per_byte")}


@pytest.mark.parametrize("name", RUNS)
def test_the_losses_are_the_known_ones(tmp_path, name):
    known = json.loads(FILE.read_text(encoding="utf-8"))[name]
    made = losses(tmp_path, name)
    assert {key: len(values) for key, values in made.items()} == {"loss": 50, "validation/bits_per_byte": 5}
    for key, values in made.items():
        # Rounding differs between processors and versions of torch, and training makes it larger step by step.
        assert values[:5] == pytest.approx(known[key][:5], rel=1e-4)
        assert values == pytest.approx(known[key], rel=5e-3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        traces = {name: losses(Path(place), name) for name in RUNS}
    rounded = {n: {k: [round(x, 6) for x in v] for k, v in trace.items()} for n, trace in traces.items()}
    FILE.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
