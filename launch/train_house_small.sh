#!/usr/bin/env bash
# The shipped model, from nothing: makes the corpus, trains the four models, exports the bundle.
# Cost: about eleven hours on two cores (AMD EPYC, AVX-512), 8 GB of disk; the same command takes a GPU where JAX has one.
# The weights are not the same bytes on another machine, as sums are rounded in another order; losses agree.
#   launch/train_house_small.sh              writes to ./runs/house; started again, it resumes anywhere
#   RUN=elsewhere TRACKS=100 launch/train_house_small.sh
set -euo pipefail
cd "$(dirname "$0")/.."

RUN=${RUN:-runs/house}
PYTHON=${PYTHON:-.venv/bin/python}
TRACKS=${TRACKS:-320}
TRACK_SECONDS=${TRACK_SECONDS:-24:64}  # shortest and longest
CONFIG=configs/house_small.py
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}

jukejax() {
    printf '\n$ python -m jukejax.%s\n' "$*"
    "$PYTHON" -m "jukejax.$1" "${@:2}"
}

jukejax prepare --input=house --nohouse_vocals --house_tracks="$TRACKS" --house_seconds="$TRACK_SECONDS" \
    --house_bpm=110:136 --separator=none --heldout=0.06 --output="$RUN/audio"
jukejax train --config=$CONFIG:vqvae --workdir="$RUN/vqvae" --config.data.folder="$RUN/audio"
# Weights are stored as float16. Codes are those of the rounded VQ-VAE, so it is rounded first.
jukejax export --workdir="$RUN/vqvae" --dtype=float16 --license=Apache-2.0 --output="$RUN/codec"
# The decoder of level 0 alone is trained on, and the codes do not change.
jukejax train --config=$CONFIG:decoder --workdir="$RUN/decoder" --config.data.folder="$RUN/audio" --config.init_from="$RUN/codec"
jukejax encode --vqvae="$RUN/codec" --input="$RUN/audio" --references=0,1 --output="$RUN/codes"
train_prior() {
    jukejax train --config=$CONFIG:$1 --workdir="$RUN/$1" --config.data.folder="$RUN/codes"
}
if [ "$(nproc)" = 2 ] && ! command -v nvidia-smi > /dev/null; then
    # Models of this size train faster on a core each than one after the other on two.
    export -f jukejax train_prior
    export PYTHON CONFIG RUN
    taskset -c 0 bash -c 'train_prior prior' &
    taskset -c 1 bash -c 'train_prior upsampler1'
    wait $!
    train_prior upsampler0
else
    for stage in prior upsampler1 upsampler0; do train_prior $stage; done
fi
jukejax export --workdir="$RUN/decoder,$RUN/prior,$RUN/upsampler1,$RUN/upsampler0" --dtype=float16 \
    --license=Apache-2.0 --output="$RUN/model" --sampling=launch/house_sampling.json \
    --recipe="launch/train_house_small.sh, configs/house_small.py: $TRACKS tracks of $TRACK_SECONDS s, corpus seed 0, model seed 0"
