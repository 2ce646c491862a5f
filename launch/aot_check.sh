#!/usr/bin/env bash
# Compiles the real training step for TPUs and GPUs that are not here; prints memory and messages by device.
#   launch/aot_check.sh fetch                 the compilers only, into .cache/aot (1.3 GB; never into .venv)
#   launch/aot_check.sh                       fetch, then every check below; minutes each on two cores
#   launch/aot_check.sh v5e:16x16 --config=configs/pod_prior_5b.py      one of them, or any other
# Reports go to the screen and to $OUT (default .cache/aot/reports); exit code 1 if a check fails.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
FOLDER=${JUKEJAX_AOT:-$PWD/.cache/aot}
OUT=${OUT:-$FOLDER/reports}
export JUKEJAX_AOT=$FOLDER PIP_CACHE_DIR=${PIP_CACHE_DIR:-$PWD/.cache/pip} PIP_DISABLE_PIP_VERSION_CHECK=1

# fetch FOLDER FILE PACKAGE...: puts packages into a folder of their own, unless FILE is there
fetch() {
    local folder=$FOLDER/$1 file=$2
    shift 2
    [ -e "$folder/$file" ] && return
    mkdir -p "$FOLDER"
    rm -rf "$folder" "$folder.part"
    echo "fetching $*" >&2
    "$PYTHON" -m pip install -q --no-deps --target "$folder.part" "$@" 2> "$FOLDER/pip.log" \
        || { cat "$FOLDER/pip.log" >&2; exit 2; }
    mv "$folder.part" "$folder"
}

fetch_all() {
    local jaxlib libtpu
    read -r jaxlib libtpu < <("$PYTHON" -c 'import importlib.metadata as m; print(m.version("jaxlib"),
        next(need.partition(";")[0] for need in m.requires("jax") if need.startswith("libtpu")))')
    fetch tpu libtpu/libtpu.so "$libtpu"
    fetch cuda nvidia/cuda_nvcc/bin/ptxas "jax-cuda12-pjrt==$jaxlib" "jax-cuda12-plugin==$jaxlib" \
        'nvidia-cuda-nvcc-cu12==12.9.86'                # the last ptxas that knows sm_70
}

failed=0

# check NAME TOPOLOGY FLAGS...: one compilation; its report to the screen and to $OUT/NAME.txt
check() {
    local name=$1 topology=$2
    shift 2
    printf '\n$ python -m jukejax.bench train --aot=%s %s\n' "$topology" "$*"
    if ! "$PYTHON" -m jukejax.bench train "--aot=$topology" "$@" 2>&1 | tee "$OUT/$name.txt"; then
        failed=1
    fi
}

# attention NAME TOPOLOGY FLAGS...: attention layers alone, forward and backward; any fallback fails
attention() {
    local name=$1 topology=$2
    shift 2
    printf '\n$ python -m jukejax.bench attention --aot=%s %s\n' "$topology" "$*"
    if ! "$PYTHON" -W error::UserWarning -m jukejax.bench attention "--aot=$topology" "$@" 2>&1 \
        | tee "$OUT/$name.txt"; then
        failed=1
    fi
}

# decode NAME TOPOLOGY FLAGS...: the token loop; kernels and bytes of a step
decode() {
    local name=$1 topology=$2
    shift 2
    printf '\n$ python -m jukejax.bench decode --aot=%s %s\n' "$topology" "$*"
    if ! "$PYTHON" -m jukejax.bench decode "--aot=$topology" "$@" --json 2>&1 | tee "$OUT/$name.txt"; then
        failed=1
    fi
}

# refused NAME TOPOLOGY FLAGS...: the same as check for a slice that is too small: one line, exit code 2
refused() {
    local name=$1 topology=$2 code=0
    shift 2
    printf '\n$ python -m jukejax.bench train --aot=%s %s    (must not fit)\n' "$topology" "$*"
    "$PYTHON" -m jukejax.bench train "--aot=$topology" "$@" > "$OUT/$name.txt" 2>&1 || code=$?
    cat "$OUT/$name.txt"
    [ "$code" -eq 2 ] || failed=1
}

fetch_all
[ "${1:-}" = fetch ] && exit 0
mkdir -p "$OUT"
if [ $# -gt 0 ]; then
    check one "$@"
    exit "$failed"
fi
POD=--config=configs/pod_prior_5b.py
check pod_5b_v5e_256 v5e:16x16 "$POD"
check pod_5b_v4_128 v4:4x4x4 "$POD"
check pod_5b_v6e_256 v6e:16x16 "$POD"
check pod_5b_v5p_128 v5p:4x4x4 "$POD"
check pod_5b_v5e_two_slices v5e:8x16 --slices=2 "$POD"
refused pod_5b_v5e_8 v5e:2x4 "$POD" --mesh=fsdp:8 --batch=16
check house_prior_v100_8 v100:8 --config=configs/house_prior.py --batch=32
check house_prior_1b_h200_8 h200:8 --config=configs/house_prior_1b.py
check small_prior_h100 h100:1 --config=small_prior --dtype=bfloat16 --batch=4 --remat=block
check house_prior_1b_h100 h100:1 --config=configs/house_prior_1b.py --batch=16 --accumulate=2
for batch in 1 8; do
    decode "decode_upsampler_h100_$batch" h100:1 --config=upsampler --dtype=bfloat16 --batch=$batch
    decode "decode_1b_h100_$batch" h100:1 --config=prior_1b --dtype=bfloat16 --batch=$batch
    decode "decode_5b_h100_$batch" h100:1 "$POD" --dtype=bfloat16 --batch=$batch
done
ATTENTION="--seq_lens=8192 --kinds=1,2,3,pattern"
for shape in "--width=1920 --num_heads=1 --num_blocks=128" "--width=2048 --num_heads=2 --num_blocks=64"; do
    width=${shape#--width=}
    name=attention_${width%% *}
    # shellcheck disable=SC2086  # the flags are words
    {
        attention "${name}_splash_v5e" v5e:2x2 $shape $ATTENTION --backend=splash
        attention "${name}_pallas_h200" h200:1 $shape $ATTENTION --backend=pallas
        attention "${name}_auto_v100" v100:1 $shape $ATTENTION
    }
done
exit "$failed"
