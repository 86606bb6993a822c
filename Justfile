# `just` alone checks everything that a change must pass.

# lint + types + tests
default: lint types test

# the environment, with the development tools
setup:
    uv sync

# the default test suite: hermetic, minutes on two cores
test *arguments:
    uv run pytest {{ arguments }}

# the long tests; run before a release, outcome in docs/LOG.md
slow *arguments:
    uv run pytest -m "slow and not gpu" -n 0 {{ arguments }}

# formatting and lint of Python and of shell scripts
lint:
    uv run ruff format --check .
    uv run ruff check .
    uv run shellcheck .ci/run scripts/*.sh

# static types
types:
    uv run pyright

# train → resume → infer → infill → eval, at a tiny size
smoke:
    uv run bash scripts/smoke.sh

# training step, sampling and loader, printed; add --set output=benchmarking/results/… to keep a row
bench:
    uv run flowlm-bench-train
    uv run flowlm-bench-infer
    uv run flowlm-bench-tokenizer
    uv run flowlm-bench-data

# the schemas that editors read; after a change to any parameter class
schemas:
    uv run flowlm schema --write

# an installable wheel in dist/
wheel:
    uv build --wheel
