"""``flowlm bench-train`` / ``flowlm-bench-train``: measure a training step.

flowlm-bench-train --set repeats=10
"""

from __future__ import annotations

from cli import app as frame


def bench_train(
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Measure training steps: tokens/s, peak memory, share of the matmul ceiling, next to the rival in the same run."""
    from diffusionlm.workflows.params import BenchTrainParams

    params = frame.configure(BenchTrainParams, config, settings, print_config)
    from benchmarking import train as bench

    frame.show(bench.bench_train(params))


app = frame.make_app(bench_train)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()
