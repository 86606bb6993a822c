#!/usr/bin/env bash
# The whole pipeline at a tiny size, in a minute: train → resume → infer → infill → eval.
# Run it with FlowLM's commands on the PATH: `just smoke`, or `uv run bash scripts/smoke.sh`.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export FLOWLM_CACHE="$work/cache" HF_HUB_OFFLINE=1 WANDB_MODE=offline

corpus="$work/corpus"
mkdir "$corpus"
for i in $(seq 1 40); do
    printf 'def add_%d(a, b):\n    return a + b + %d\n' "$i" "$i" >"$corpus/$i.txt"
done

settings=(
    --set run.folder="$work/run" --set run.debug=true
    --set data.source.name=text --set "data.source.path=\"$corpus/*.txt\"" --set data.validation_fraction=0.25
)

say() { printf '\n== %s\n' "$*" >&2; }

say "train 10 steps"
flowlm-train --config quickstart "${settings[@]}" --set training.steps=10

say "a second run in the same folder is refused"
if flowlm-train --config quickstart "${settings[@]}" --set training.steps=10; then
    echo "smoke: a folder with a run in it was not refused" >&2
    exit 1
fi

say "resume to 20 steps"
flowlm-train --config quickstart "${settings[@]}" --set training.steps=20 --resume auto

say "infer"
flowlm-infer --checkpoint "$work/run" --prompt "def f(" --length 16 --steps 8 --json >"$work/samples.jsonl"
test "$(wc -l <"$work/samples.jsonl")" -eq 1

say "infill"
filled=$(flowlm-infill --checkpoint "$work/run" 'def add(a, b):<|hole:8|>return c' --steps 8)
case "$filled" in
    "def add(a, b):"*"return c") ;;
    *)
        echo "smoke: the text around the hole changed: $filled" >&2
        exit 1
        ;;
esac

say "eval"
flowlm-eval --checkpoint "$work/run" --draws 2 --json | tee "$work/eval.json"
grep -q bits_per_byte "$work/eval.json"

say "smoke: passed"
