"""``flowlm bench-data`` / ``flowlm-bench-data``: measure the loader.

flowlm-bench-data --set tokens=500000000
"""

from __future__ import annotations

from cli import app as frame


def bench_data(
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Measure the loader: tokens/s from shards to a stub step, how long the step waits for data, memory."""
    from diffusionlm.workflows.params import BenchDataParams

    params = frame.configure(BenchDataParams, config, settings, print_config)
    from benchmarking import data as bench

    frame.show(bench.bench_data(params))


app = frame.make_app(bench_data)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()
