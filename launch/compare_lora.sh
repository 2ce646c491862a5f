#!/usr/bin/env bash
# Compares tuning all weights of the shipped top prior with training low-rank adapters of it, by held-out bits.
#   launch/compare_lora.sh                 on 20 synthetic records in a style that the model does not know
#   CODES=folder launch/compare_lora.sh    on codes that `encode --vqvae=house` has made
#   RUN=runs/lora STEPS=60 RATE=0.003      folder; steps; learning rate of the adapters
# Started again, it resumes.
set -euo pipefail
cd "$(dirname "$0")/.."

RUN=${RUN:-runs/lora}
PYTHON=${PYTHON:-.venv/bin/python}
STEPS=${STEPS:-60}
RATE=${RATE:-0.003}
CODES=${CODES:-}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}

if [ -z "$CODES" ]; then
    CODES=$RUN/codes
    "$PYTHON" launch/write_records.py --output="$RUN/records" --tracks=20
    "$PYTHON" -m jukejax.prepare --input="$RUN/records" --metadata="$RUN/records/metadata.csv" --separator=none --output="$RUN/audio"
    "$PYTHON" -m jukejax.encode --vqvae=house --input="$RUN/audio" --output="$CODES"
fi
tune=("$PYTHON" -m jukejax.train --config=configs/house_small.py:tune --config.data.folder="$CODES"
    --config.init_from=house --config.steps="$STEPS")
"${tune[@]}" --workdir="$RUN/whole"
"${tune[@]}" --workdir="$RUN/adapters" --config.lora.rank=8 --config.optimizer.learning_rate="$RATE"
"$PYTHON" - "$RUN" <<'END'
import json, sys
whole, adapters = (json.load(open(f"{sys.argv[1]}/{name}/summary.json")) for name in ("whole", "adapters"))
bits = [run["heldout"]["bits_per_code"] for run in (whole, adapters)]
print(f"held out: {bits[0]:.4f} bits a code with all weights, {bits[1]:.4f} with adapters ({100 * (bits[1] / bits[0] - 1):+.2f} %)")
print(f"trained: {adapters['params']:,} of {whole['params']:,} parameters ({100 * adapters['params'] / whole['params']:.2f} %)")
END
