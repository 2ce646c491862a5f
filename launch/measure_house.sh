#!/usr/bin/env bash
# Measures a model of configs/house_small.py: 16 tracks of 32 s, nothing picked, against 60 held-out tracks of the generator.
#   launch/measure_house.sh                      the shipped model
#   MODEL=runs/house/model TRAINING=runs/house/audio launch/measure_house.sh     another, with an audit against its corpus
#   MUSICNN=musicnn-0.1.0-py3-none-any.whl launch/measure_house.sh               with musicnn's tags (docs/evaluation.md)
set -euo pipefail
cd "$(dirname "$0")/.."

MODEL=${MODEL:-house}
RUN=${RUN:-runs/measure_house}
PYTHON=${PYTHON:-.venv/bin/python}
SECONDS_TO_MAKE=${SECONDS_TO_MAKE:-32}
HELDOUT=${HELDOUT:-60}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}

jukejax() {
    printf '\n$ python -m jukejax.%s\n' "$*"
    "$PYTHON" -m "jukejax.$1" "${@:2}"
}

# Held-out music is of another seed than the corpus (0).
jukejax prepare --input=house --seed=1 --nohouse_vocals --house_tracks="$HELDOUT" --house_seconds="$SECONDS_TO_MAKE" \
    --house_bpm=110:136 --separator=none --output="$RUN/heldout"

# Four tempi and keys, four tracks each; every item of a run has noise of its own.
mkdir -p "$RUN/tracks"
seed=0
while read -r bpm key; do
    jukejax sample --model="$MODEL" --bpm="$bpm" --key="$key" --seconds="$SECONDS_TO_MAKE" --num_samples=4 --seed=$seed \
        ${SAMPLE_FLAGS:-} --output="$RUN/samples_$seed"
    for item in "$RUN/samples_$seed"/item_*; do
        ln -sfn "../samples_$seed/$(basename "$item")" "$RUN/tracks/item_$(printf '%03d' $((4 * seed + 10#${item##*_})))"
    done
    seed=$((seed + 1))
done <<'TEMPI'
116 Am
122 Dm
126 F#m
132 C
TEMPI

jukejax evaluate --input="$RUN/tracks" --reference="$RUN/heldout" --split=all --model="$MODEL" \
    ${MUSICNN:+--musicnn="$MUSICNN"} --output="$RUN/evaluation"
# `audit` ends with 3 for copied music: a result, not an error.
if [ -n "${TRAINING:-}" ]; then
    jukejax audit --input="$RUN/tracks" --training="$TRAINING" --output="$RUN/audit" || [ $? -eq 3 ]
fi
