#!/usr/bin/env bash
# One call under 8 minutes on a Linux machine with a GPU and JAX (no TensorFlow, no network), most
# valuable first: decode, training, VQ-VAE and attention at the released sizes with random weights,
# each beside its bound; then tests; then, in the time that is left, `make from-scratch` at GPU size.
#   OUT=benchmarks/results PYTHON=python3 launch/gpu_check.sh
#   SIZE=tiny launch/gpu_check.sh         the same steps at sizes for a CPU, to try the script
# Steps, their limits and the files under $OUT: launch/gpu_check.py.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHON PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
exec "$PYTHON" launch/gpu_check.py
