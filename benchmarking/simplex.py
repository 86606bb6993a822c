"""Training steps of a simplex flow against the mask process: peak memory and processor time, each in its own process.

    python -m benchmarking.simplex            (V = 50 257, B = 16, T = 64, D = 128, 2 layers)

One line per contender: name, seconds of processor time per step on one thread, peak resident MiB. A dense (B, T, V) in
float32 alone would be 196 MiB at this size.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

SIZE, BATCH, LENGTH, WIDTH, STEPS = 50_257, 16, 64, 128, 2
CONTENDERS = {
    "mask": {"name": "mask"},
    "logit exact": {"name": "logit"},
    "logit top_k": {"name": "logit", "embedding": "top_k"},
}


def measure(contender: str) -> str:
    """Return the line of one contender, measured in this process."""
    import torch

    from diffusionlm.data.batch import Batch
    from diffusionlm.model.params import TransformerParams
    from diffusionlm.model.transformer import build_model
    from diffusionlm.objective import OBJECTIVES
    from diffusionlm.objective.engine import loss_sum, prepare
    from diffusionlm.process import PROCESSES, Vocabulary

    torch.set_num_threads(1)
    vocabulary = Vocabulary.after(SIZE)
    params = PROCESSES[CONTENDERS[contender]["name"]].Params.model_validate(CONTENDERS[contender])
    process = PROCESSES.build(params, vocabulary)
    objective = OBJECTIVES.build(OBJECTIVES["ce"].Params(), process)
    model = build_model(TransformerParams(layers=2, width=WIDTH, heads=2, context_length=LENGTH), vocabulary, 0)
    x_1 = torch.randint(SIZE, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    row, site = torch.arange(BATCH)[:, None], torch.arange(LENGTH)
    ones = torch.ones_like(x_1)
    batch = Batch(x_1, ones, site * ones, row * ones, 0 * ones, ones == 0)
    began = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            began = time.process_time()
        part = prepare(objective, batch, 0, step, torch.arange(BATCH), BATCH)
        model.zero_grad()
        (loss_sum(model, part).total / part.denominator).backward()
    seconds = (time.process_time() - began) / STEPS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{contender:<12} {seconds:6.2f} s  {peak:7.0f} MiB"


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
