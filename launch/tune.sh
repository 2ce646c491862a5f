#!/usr/bin/env bash
# Tunes the top prior of a model of configs/house_small.py on a few records, and makes tracks with it.
#   launch/tune.sh                 on 20 synthetic records in a style that it does not know
#   MUSIC=folder launch/tune.sh    on your own records
#   MODEL=runs/house/model         the model, by default the shipped one
#   RUN=runs/tune BPM=122 KEY=Am BARS=16 STEPS=25         folder; tempo, key and length of the tracks; steps of the tuning
# Started again, it resumes.
set -euo pipefail
cd "$(dirname "$0")/.."

MODEL=${MODEL:-house}
RUN=${RUN:-runs/tune}
PYTHON=${PYTHON:-.venv/bin/python}
MUSIC=${MUSIC:-}
BPM=${BPM:-122}
KEY=${KEY:-Am}
BARS=${BARS:-16}
STEPS=${STEPS:-25}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

# Windows of the finer levels at once; guidance holds the asked key, the top level is a little more random so that it repeats itself
# less, and the finer ones less random, so that they are clearer (docs/house.md).
FAST=(--schedule=parallel --hop_fraction=0.5,0.9,0.9 --guidance=2,1,1 --guided_labels=key
    --temperature=1.05,0.9,0.9)
source launch/stages.sh

metadata=()
if [ -z "$MUSIC" ]; then
    MUSIC=$RUN/records
    "$PYTHON" launch/write_records.py --output="$MUSIC" --tracks="${TRACKS:-20}"
    metadata=(--metadata="$MUSIC/metadata.csv")
fi

run_stage "prepare the records" prepare --input="$MUSIC" "${metadata[@]}" --separator="${SEPARATOR:-none}" \
    --output="$RUN/audio"
run_stage "encode them with the model's VQ-VAE" encode --vqvae="$MODEL" --input="$RUN/audio" --output="$RUN/codes"
run_stage "tune the top prior" train --config=configs/house_small.py:tune --workdir="$RUN/prior" \
    --config.data.folder="$RUN/codes" --config.init_from="$MODEL" --config.steps="$STEPS"
run_stage "export the model" export --workdir="$MODEL,$RUN/prior" --output="$RUN/model"
run_stage "make two tracks" sample --model="$RUN/model" --bpm="$BPM" --key="$KEY" --bars="$BARS" --num_samples=2 "${FAST[@]}" \
    --seed=1 --output="$RUN/samples"
prompt=$(find "$MUSIC" -type f ! -name '*.csv' ! -name '*.json' | sort | head -n 1)
run_stage "continue a record" sample --model="$RUN/model" --mode=primed --prompt="$prompt" --prompt_seconds=8 \
    --seconds=16 --seed=1 "${FAST[@]}" --output="$RUN/continuation"
# `audit` ends with 3 for copied music: a result, not an error.
run_stage "audit" audit --input="$RUN/samples" --training="$RUN/audio" --output="$RUN/audit" || [ $? -eq 3 ]
run_stage "evaluate" evaluate --input="$RUN/samples" --reference="$RUN/audio" --output="$RUN/evaluation"

write_page --audio="$RUN/audio" --codes="$RUN/codes" --priors="$RUN/prior" --bundle="$RUN/model" \
    --samples="$RUN/samples,$RUN/continuation"
