#!/usr/bin/env bash
# What a producer does first: tunes the shipped model on a few records and makes tracks with it.
#   launch/demo.sh                    writes to ./demo; started again, it resumes
#   MUSIC=folder launch/demo.sh       your own records instead of 20 synthetic ones
#   BPM=124 KEY=Am BARS=16 STEPS=60   tempo, key and length of the tracks, steps of the tuning
set -euo pipefail
cd "$(dirname "$0")/.."

DEMO=${DEMO:-demo}
PYTHON=${PYTHON:-.venv/bin/python}
MUSIC=${MUSIC:-}
BPM=${BPM:-122}
KEY=${KEY:-Am}
BARS=${BARS:-16}
STEPS=${STEPS:-60}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

mkdir -p "$DEMO"
: > "$DEMO/commands.txt"
echo '{' > "$DEMO/timings.json.tmp"

# run_stage STAGE VERB FLAGS...: prints and runs `jukejax VERB FLAGS...`, and records its seconds
run_stage() {
    local stage=$1 start=$SECONDS
    shift
    { printf 'python -m jukejax.%s' "$1"; printf ' %q' "${@:2}"; echo; } >> "$DEMO/commands.txt"
    printf '\n$ %s\n' "$(tail -n 1 "$DEMO/commands.txt")"
    "$PYTHON" -m "jukejax.$1" "${@:2}"
    echo "  \"$stage\": $((SECONDS - start))," >> "$DEMO/timings.json.tmp"
}

metadata=()
if [ -z "$MUSIC" ]; then
    MUSIC=$DEMO/records
    "$PYTHON" launch/write_records.py --output="$MUSIC"
    metadata=(--metadata="$MUSIC/metadata.csv")
fi
record=$(find "$MUSIC" -type f \( -iname '*.flac' -o -iname '*.wav' -o -iname '*.mp3' -o -iname '*.ogg' -o -iname '*.m4a' \) | sort | head -n 1)

run_stage "prepare the records" prepare --input="$MUSIC" "${metadata[@]}" --separator="${SEPARATOR:-none}" --output="$DEMO/audio"
run_stage "encode them with the shipped VQ-VAE" encode --vqvae=house --input="$DEMO/audio" --output="$DEMO/codes"
run_stage "tune the top prior" train --config=configs/house_small.py:tune --workdir="$DEMO/prior" \
    --config.data.folder="$DEMO/codes" --config.steps="$STEPS"
run_stage "export the model" export --workdir="house,$DEMO/prior" --output="$DEMO/model"
run_stage "make two tracks" sample --model="$DEMO/model" --bpm="$BPM" --key="$KEY" --bars="$BARS" --num_samples=2 --seed=1 \
    --schedule=parallel --output="$DEMO/samples"
run_stage "continue a record" sample --model="$DEMO/model" --mode=primed --prompt="$record" --prompt_seconds=8 --bars="$BARS" \
    --seed=2 --schedule=parallel --output="$DEMO/continued"
run_stage "audit" audit --input="$DEMO/samples" --training="$DEMO/audio" --output="$DEMO/audit"
run_stage "evaluate" evaluate --input="$DEMO/samples" --reference="$DEMO/audio" --output="$DEMO/evaluation"

sed '$ s/,$//' "$DEMO/timings.json.tmp" > "$DEMO/timings.json"
echo '}' >> "$DEMO/timings.json"
rm "$DEMO/timings.json.tmp"
printf '\n$ python -m jukejax.report\n'
"$PYTHON" -m jukejax.report --audio="$DEMO/audio" --codes="$DEMO/codes" --priors="$DEMO/prior" --bundle="$DEMO/model" \
    --samples="$DEMO/samples,$DEMO/continued" --commands="$DEMO/commands.txt" --timings="$DEMO/timings.json" \
    --output="$DEMO/report"
