"""Contenders in the test's own process: starting one of their own takes seconds, and test_worker.py tests that part."""

import time

import pytest

from benchmarking import infer, kernels, tokenizer, train
from benchmarking.worker import Measured


def in_turns_here(contenders, *, warmup, repeats, threads=0):
    """Do what ``benchmarking.worker.in_turns`` does, in this process and without looking at memory."""
    made = {name: build(*arguments) for name, (build, arguments) in contenders.items()}
    seconds = {name: [] for name in made}
    for number in range(warmup + repeats):
        for name, contender in made.items():
            contender.prepare(number)
            began = time.perf_counter()
            contender.run()
            if number >= warmup:
                seconds[name].append(time.perf_counter() - began)
    return {name: Measured(seconds[name], made[name].facts(), 1.0, 2.0, 1, "") for name in made}


@pytest.fixture
def one_process(monkeypatch):
    for module in (infer, kernels, tokenizer, train):
        monkeypatch.setattr(module, "in_turns", in_turns_here)
    monkeypatch.setattr(train, "matmul_ceiling", lambda *_: 100.0)
