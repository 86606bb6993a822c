"""``flowlm bench-infer`` / ``flowlm-bench-infer``: measure sampling.

flowlm-bench-infer --set generation.steps=32
"""

from __future__ import annotations

from cli import app as frame


def bench_infer(
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Measure sampling: latency, tokens/s and network evaluations (NFE)."""
    from diffusionlm.workflows.params import BenchInferParams

    params = frame.configure(BenchInferParams, config, settings, print_config)
    from benchmarking import infer as bench

    frame.show(bench.bench_infer(params))


app = frame.make_app(bench_infer)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()
