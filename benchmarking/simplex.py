"""Training steps of the simplex flows against the mask process: memory and processor time, each in its own process.

    python -m benchmarking.simplex            (V = 50 257, B = 16, T = 64, D = 128, 2 layers)

One line per contender: name, seconds of processor time per step on one thread, MiB that torch held at most during a
step beyond what it held before, and the process's peak resident MiB. A dense (B, T, V) in float32 alone would be
196 MiB at this size.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from diffusionlm.process import PROCESSES

SIZE, BATCH, LENGTH, WIDTH, STEPS = 50_257, 16, 64, 128, 2
CONTENDERS = {
    "mask": {"name": "mask"},
    **{name: {"name": name} for name in PROCESSES if PROCESSES[name].state == "simplex"},
    "logit top_k": {"name": "logit", "embedding": "top_k"},
}


def training_step(contender: str, batch: int, length: int, width: int) -> Callable[[int], None]:
    """Return what runs the forward and backward passes of a numbered step of a contender, on one thread.

    ``logit_entropy`` runs with its entropy term on; all others with plain cross-entropy.
    """
    import torch

    from diffusionlm.data.batch import Batch
    from diffusionlm.model.params import TransformerParams
    from diffusionlm.model.transformer import build_model
    from diffusionlm.objective import OBJECTIVES
    from diffusionlm.objective.engine import loss_sum, prepare
    from diffusionlm.process import Vocabulary

    torch.set_num_threads(1)
    vocabulary = Vocabulary.after(SIZE)
    process = PROCESSES.build(
        PROCESSES[CONTENDERS[contender]["name"]].Params.model_validate(CONTENDERS[contender]), vocabulary
    )
    name, values = ("ce_entropy", {"entropy": 0.05}) if contender == "logit_entropy" else ("ce", {})
    objective = OBJECTIVES.build(OBJECTIVES[name].Params.model_validate(values), process)
    model = build_model(TransformerParams(layers=2, width=width, heads=2, context_length=length), vocabulary, 0)
    x_1 = torch.randint(SIZE, (batch, length), generator=torch.Generator().manual_seed(0))
    row, site, ones = torch.arange(batch)[:, None], torch.arange(length), torch.ones_like(x_1)
    clean = Batch(x_1, ones, site * ones, row * ones, 0 * ones, ones == 0)

    def run(step: int) -> None:
        part = prepare(objective, clean, 0, step, torch.arange(batch), batch)
        model.zero_grad()
        (loss_sum(model, part).total / part.denominator).backward()

    return run


def allocated(call: Callable[[], None]) -> float:
    """Return the MiB that torch's CPU allocator held at most during a call beyond what it held before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    events: Any = record.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    now = most = 0
    for _, size in sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"):
        now += size
        most = max(most, now)
    return most / 2**20


def measure(contender: str) -> str:
    """Return the line of one contender, measured in this process."""
    step = training_step(contender, BATCH, LENGTH, WIDTH)
    step(0)
    began = time.process_time()
    for number in range(1, STEPS + 1):
        step(number)
    seconds = (time.process_time() - began) / STEPS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = allocated(lambda: step(STEPS + 1))
    return f"{contender:<14} {seconds:6.2f} s  {held:6.0f} MiB by torch  {peak:6.0f} MiB resident"


def main() -> None:
    """Measure every contender in a process of its own, or the one that the command line names."""
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
        return
    for contender in CONTENDERS:
        command = [sys.executable, "-m", "benchmarking.simplex", contender]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
