#!/usr/bin/env bash
# The whole pipeline on the embedded corpus: the commands that a user would type, one after the other.
#   launch/demo.sh             writes to ./demo; started again, it resumes
#   DEMO=elsewhere SIZE=gpu launch/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."

DEMO=${DEMO:-demo}
SIZE=${SIZE:-cpu}
PYTHON=${PYTHON:-.venv/bin/python}
TRACKS=${TRACKS:-14}        # of TRACK_SECONDS each, every fifth or so held out
TRACK_SECONDS=${TRACK_SECONDS:-30}
SECONDS_TO_MAKE=${SECONDS_TO_MAKE:-8}
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

train() {
    local stage=$1 name=$2 variant=$3
    shift 3
    [ "$SIZE" = cpu ] || variant=$variant-$SIZE
    run_stage "$stage" train "--config=configs/demo.py:$variant" "--workdir=$DEMO/$name" "$@"
}

AUDIO=--config.data.folder=$DEMO/audio
CODES=--config.data.folder=$DEMO/codes

run_stage "prepare the corpus" prepare --input=house --house_tracks="$TRACKS" --house_seconds="$TRACK_SECONDS" \
    --separator=repet --output="$DEMO/audio"
train "train the VQ-VAE" vqvae vqvae "$AUDIO"
train "train the control, its codebook frozen" vqvae_frozen vqvae "$AUDIO" --config.model.ema_decay=1.0
run_stage "encode the corpus" encode --vqvae="$DEMO/vqvae" --input="$DEMO/audio" --output="$DEMO/codes"
train "train the top prior" prior prior "$CODES"
train "train upsampler 1" upsampler1 upsampler1 "$CODES"
train "train upsampler 0" upsampler0 upsampler0 "$CODES"
run_stage "export the model" export --format=bundle --output="$DEMO/model" \
    --workdir="$DEMO/vqvae,$DEMO/prior,$DEMO/upsampler1,$DEMO/upsampler0"
run_stage "sample two tracks" sample --model="$DEMO/model" --mode=ancestral --seconds="$SECONDS_TO_MAKE" \
    --num_samples=2 --genre="deep house" --seed=1 --output="$DEMO/samples"

sed '$ s/,$//' "$DEMO/timings.json.tmp" > "$DEMO/timings.json"
echo '}' >> "$DEMO/timings.json"
rm "$DEMO/timings.json.tmp"
printf '\n$ python -m jukejax.report\n'
"$PYTHON" -m jukejax.report --audio="$DEMO/audio" --codes="$DEMO/codes" --vqvae="$DEMO/vqvae" \
    --control="$DEMO/vqvae_frozen" --priors="$DEMO/prior,$DEMO/upsampler1,$DEMO/upsampler0" \
    --bundle="$DEMO/model" --samples="$DEMO/samples" --commands="$DEMO/commands.txt" \
    --timings="$DEMO/timings.json" --output="$DEMO/report"
