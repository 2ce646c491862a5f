#!/usr/bin/env bash
# One call on a Linux GPU machine that has JAX and no TensorFlow, under 9 minutes: the fast tests on the
# GPU, every bench at released sizes with random weights, then, in the time that is left, the demo's
# pipeline at its GPU size; figures as JSON into $OUT (default benchmarks/results).
#   OUT=benchmarks/results PYTHON=python3 launch/gpu_check.sh
set -uo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-benchmarks/results}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHON PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
LIMIT=${LIMIT:-530}                    # seconds of all together
TEST_SECONDS=${TEST_SECONDS:-110}
BENCH_SECONDS=${BENCH_SECONDS:-80}     # of one bench
BENCH_UNTIL=${BENCH_UNTIL:-430}        # no bench begins later
MODELS=${MODELS:-released}             # of bench decode; a small machine may take small_prior
TRAINED=${TRAINED:-small_prior upsampler}
mkdir -p "$OUT"

"$PYTHON" - <<'PY' || exit 2
import importlib.util, sys
need = "absl av flax google_crc32c grain jax librosa matplotlib ml_collections mutagen numpy optax " \
       "orbax.checkpoint safetensors scipy soundfile soxr tensorflow_datasets pytest"
missing = []
for name in need.split():
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        missing.append(name)
if missing:
    sys.exit(f"error: this Python lacks {', '.join(missing)}; install them (BUILD.md) or carry their wheels")
import jax
devices = [d for d in jax.devices() if d.platform != "cpu"]
if not devices:
    sys.exit(f"error: JAX sees no accelerator, only {jax.devices()}; see BUILD.md")
print(f"device: {devices[0].device_kind}, jax {jax.__version__}")
PY

start=$SECONDS
JUKEJAX_TEST_PLATFORM=device timeout "$TEST_SECONDS" "$PYTHON" -m pytest -m "not slow" -p no:cacheprovider \
    tests/test_golden.py tests/ops/attention/test_kinds.py tests/ops/test_cache.py tests/models/test_transformer.py \
    tests/models/test_autoregressive.py tests/ops/test_logits.py tests/inference/test_token_loop.py tests/ops/test_stft.py \
    tests/ops/test_quantize.py 2>&1 | tee "$OUT/gpu_tests.log" | tail -15
tests=${PIPESTATUS[0]}
test_seconds=$((SECONDS - start))

# bench NAME FLAGS...: adds a line of JSON for each row to gpu_bench.jsonl; one that fails is named
: > "$OUT/gpu_bench.log"
: > "$OUT/gpu_bench.jsonl"
failed=()
bench() {
    local limit=$((BENCH_UNTIL + BENCH_SECONDS - SECONDS))
    if [ "$SECONDS" -gt "$BENCH_UNTIL" ]; then
        failed+=("no time: $*")
        return
    fi
    printf '$ bench %s\n' "$*" | tee -a "$OUT/gpu_bench.log"
    timeout "$((limit < BENCH_SECONDS ? limit : BENCH_SECONDS))" "$PYTHON" -m jukejax.bench "$@" --json \
        2>> "$OUT/gpu_bench.log" | tee -a "$OUT/gpu_bench.jsonl"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$*")
}
benches=$SECONDS
bench decode --config="$MODELS" --dtype=bfloat16 --batch=1 --tokens=512
for model in $TRAINED; do
    bench train --config="$model" --dtype=bfloat16 --remat=block --batch=4
done
bench vqvae --seconds=30 --batch=4
bench attention --seq_lens=1024,2048,4096,8192,16384,32768 --width=1920 --num_heads=1 --kinds=pattern,dense3 \
    --dtype=bfloat16 --repeat=5 --longest=4
bench attention --config=upsampler --kinds=1,2,3,pattern --dtype=bfloat16
bench attention --config=upsampler --kinds=1,2,3,pattern --dtype=bfloat16 --backend=pallas
bench decode --config="$MODELS" --dtype=bfloat16 --batch=8 --tokens=512
bench decode --config="$MODELS" --dtype=bfloat16 --weights=int8 --batch=1 --tokens=512
bench_seconds=$((SECONDS - benches))
[ ${#failed[@]} -eq 0 ] || printf 'failed: bench %s\n' "${failed[@]}"

start=$SECONDS
DEMO=.cache/gpu_demo
rm -rf "$DEMO"
RUN=$DEMO SIZE=gpu TRACKS=24 timeout "$((LIMIT - SECONDS))" launch/from_scratch.sh > "$OUT/gpu_demo.log" 2>&1
demo=$?                                # 124: cut off by LIMIT
tail -20 "$OUT/gpu_demo.log"

export TESTS=$tests DEMO_CODE=$demo BENCHES_FAILED=${#failed[@]} DEMO OUT
TEST_SECONDS=$test_seconds BENCH_SECONDS=$bench_seconds DEMO_SECONDS=$((SECONDS - start)) \
    "$PYTHON" - <<'PY'
import datetime, json, os, pathlib
import jax
demo, out = pathlib.Path(os.environ["DEMO"]), pathlib.Path(os.environ["OUT"])
read = lambda path: json.loads(path.read_text()) if path.exists() else None
device = jax.devices()[0]
result = {
    "check": "gpu_check",
    "command": "launch/gpu_check.sh",
    "date": datetime.date.today().isoformat(),
    "device": device.device_kind,
    "jax": jax.__version__,
    "tests_exit_code": int(os.environ["TESTS"]),
    "tests_seconds": int(os.environ["TEST_SECONDS"]),
    "benches_failed": int(os.environ["BENCHES_FAILED"]),
    "benches_seconds": int(os.environ["BENCH_SECONDS"]),
    "benches": [json.loads(line) for line in (out / "gpu_bench.jsonl").read_text().splitlines()],
    "demo_exit_code": int(os.environ["DEMO_CODE"]),
    "demo_seconds": int(os.environ["DEMO_SECONDS"]),
    "peak_memory_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
    "timings": read(demo / "timings.json"),
    "runs": {p.parent.name: read(p) for p in sorted(demo.glob("*/summary.json"))},
    "samples": [read(p) for p in sorted(demo.glob("samples/item_*/meta.json"))],
}
path = out / f"gpu_check_{device.device_kind.replace(' ', '_')}_{result['date']}.json"
path.write_text(json.dumps(result, indent=1) + "\n")
print(f"figures: {path}")
PY
[ "$tests" -eq 0 ] && [ "${#failed[@]}" -eq 0 ] && { [ "$demo" -eq 0 ] || [ "$demo" -eq 124 ]; }
