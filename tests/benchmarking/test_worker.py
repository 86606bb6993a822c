"""Contenders take turns in processes of their own, and their errors arrive as what they are."""

import os
from pathlib import Path

import pytest
import torch

from benchmarking.worker import Contender, in_turns
from diffusionlm.errors import ConfigError


class Noted(Contender):
    """Writes down when it is its turn; holds memory if asked to."""

    def __init__(self, name, log, mib):
        self.name, self.log, self.held = name, Path(log), torch.zeros(mib, 1 << 18)
        self.held += 1.0

    def prepare(self, round_):
        self.number = round_

    def run(self):
        with self.log.open("a") as file:
            file.write(f"{self.name}{self.number} ")

    def facts(self):
        return {"pid": os.getpid(), "threads": torch.get_num_threads()}


def noted(name, log, mib=1):
    return Noted(name, log, mib)


def fails(kind):
    raise {"user": ConfigError("set this to that"), "fault": KeyError("missing")}[kind]


def dies():
    os._exit(7)


def test_turns_memory_and_processes(tmp_path):
    log = tmp_path / "log"
    made = in_turns({"a": (noted, ("a", log)), "b": (noted, ("b", log, 200))}, warmup=1, repeats=2, threads=1)
    assert log.read_text() == "a0 b0 a1 b1 a2 b2 "
    assert [len(one.seconds) for one in made.values()] == [2, 2]
    assert all(seconds > 0 for one in made.values() for seconds in one.seconds)
    assert len({os.getpid(), *(one.facts["pid"] for one in made.values())}) == 3
    grown = {name: one.peak_mb - one.base_mb for name, one in made.items()}
    assert grown["a"] < 100 < 200 <= grown["b"] < 300
    assert {one.threads for one in made.values()} == {1}


@pytest.mark.parametrize(
    ("build", "arguments", "error", "words"),
    [
        (fails, ("user",), ConfigError, "set this to that"),
        (fails, ("fault",), RuntimeError, "KeyError"),
        (dies, (), RuntimeError, "exit code 7"),
    ],
)
def test_errors(build, arguments, error, words):
    with pytest.raises(error, match=words):
        in_turns({"x": (build, arguments)}, warmup=0, repeats=1)
