#!/usr/bin/env bash
# The whole pipeline on the embedded corpus: the commands that a user would type, one after the other.
#   launch/from_scratch.sh             writes to ./runs/from_scratch; started again, it resumes
#   RUN=elsewhere SIZE=gpu launch/from_scratch.sh
#   SIZE=openai_small launch/from_scratch.sh   OpenAI's small models at 22,050 Hz, for a GPU
set -euo pipefail
cd "$(dirname "$0")/.."

RUN=${RUN:-runs/from_scratch}
SIZE=${SIZE:-cpu}
PYTHON=${PYTHON:-.venv/bin/python}
TRACKS=${TRACKS:-14}        # of TRACK_SECONDS each, every fifth or so held out
TRACK_SECONDS=${TRACK_SECONDS:-30}
SECONDS_TO_MAKE=${SECONDS_TO_MAKE:-8}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

source launch/stages.sh

train() {
    local stage=$1 name=$2 variant=$3 file=from_scratch
    shift 3
    case $SIZE in
        cpu) ;;
        openai_small) file=openai_small ;;
        *) variant=$variant-$SIZE ;;
    esac
    run_stage "$stage" train "--config=configs/$file.py:$variant" "--workdir=$RUN/$name" "$@"
}

AUDIO=--config.data.folder=$RUN/audio
CODES=--config.data.folder=$RUN/codes

HOUSE=(--input=house "--house_tracks=$TRACKS" "--house_seconds=$TRACK_SECONDS" --separator=repet)
GENRE=(--genre="deep house")
PRIORS=(prior upsampler1 upsampler0)
VQVAE=vqvae
if [ "$SIZE" = openai_small ]; then
    HOUSE+=(--sample_rate=22050) GENRE=() PRIORS=(prior upsampler) VQVAE=small_vqvae
fi

run_stage "prepare the corpus" prepare "${HOUSE[@]}" --output="$RUN/audio"
train "train the VQ-VAE" vqvae $VQVAE "$AUDIO"
train "train the control, its codebook frozen" vqvae_frozen $VQVAE "$AUDIO" --config.model.ema_decay=1.0
run_stage "encode the corpus" encode --vqvae="$RUN/vqvae" --input="$RUN/audio" --output="$RUN/codes"
if [ "$SIZE" = openai_small ]; then
    train "train the top prior" prior small_prior-22k "$CODES"
    train "train the upsampler" upsampler small_upsampler "$CODES"
else
    train "train the top prior" prior prior "$CODES"
    train "train upsampler 1" upsampler1 upsampler1 "$CODES"
    train "train upsampler 0" upsampler0 upsampler0 "$CODES"
fi
WORKDIRS=$(printf ",$RUN/%s" "${PRIORS[@]}")
run_stage "export the model" export --format=bundle --output="$RUN/model" --workdir="$RUN/vqvae$WORKDIRS"
run_stage "sample two tracks" sample --model="$RUN/model" --mode=ancestral --seconds="$SECONDS_TO_MAKE" \
    --num_samples=2 "${GENRE[@]}" --seed=1 --output="$RUN/samples"

write_page --audio="$RUN/audio" --codes="$RUN/codes" --vqvae="$RUN/vqvae" --control="$RUN/vqvae_frozen" \
    --priors="${WORKDIRS#,}" --bundle="$RUN/model" --samples="$RUN/samples"
