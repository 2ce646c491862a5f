#!/usr/bin/env bash
# Measures a model of configs/house_small.py: 16 tracks of 32 s, nothing picked, against 60 held-out tracks of the generator.
#   launch/measure_house.sh                      the shipped model
#   MODEL=runs/house/model TRAINING=runs/house/audio launch/measure_house.sh     another, with an audit against its corpus
#   CODES=runs/house/codes launch/measure_house.sh                               with the nearest artists, by timbre, of eight more tracks
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

# 16 tracks with the artist, genre, tempo and key of as many held-out ones, seeds 0 to 15; then one track of each artist, seeds 16 to 23.
"$PYTHON" launch/write_house_requests.py --heldout="$RUN/heldout" --seconds="$SECONDS_TO_MAKE" --output="$RUN"
for name in tracks artists; do
    jukejax sample --model="$MODEL" --requests="$RUN/$name.jsonl" ${SAMPLE_FLAGS:-} --output="$RUN/$name"
done

jukejax evaluate --input="$RUN/tracks" --reference="$RUN/heldout" --split=all --model="$MODEL" \
    ${MUSICNN:+--musicnn="$MUSICNN"} --output="$RUN/evaluation"
if [ -n "${CODES:-}" ]; then
    "$PYTHON" launch/measure_artists.py --samples="$RUN/artists" --corpus="$CODES" --model="$MODEL"
fi
if [ -n "${TRAINING:-}" ]; then
    # `audit` ends with 3 for copied music: a result, not an error.
    jukejax audit --input="$RUN/tracks" --training="$TRAINING" --output="$RUN/audit" || [ $? -eq 3 ]
fi
