"""``flowlm bench-tokenizer`` / ``flowlm-bench-tokenizer``: measure the tokenizer.

flowlm-bench-tokenizer --set repeats=10
"""

from __future__ import annotations

from cli import app as frame


def bench_tokenizer(
    config: frame.Config = None,
    settings: frame.Settings = None,
    print_config: frame.PrintConfig = False,
) -> None:
    """Measure the tokenizer: training, encoding, decoding, memory, start, next to other libraries in the same run."""
    from diffusionlm.workflows.params import BenchTokenizerParams

    params = frame.configure(BenchTokenizerParams, config, settings, print_config)
    from benchmarking import tokenizer as bench

    frame.show(bench.bench_tokenizer(params))


app = frame.make_app(bench_tokenizer)


def run() -> None:
    """Run the command."""
    frame.run(app)


if __name__ == "__main__":
    run()
