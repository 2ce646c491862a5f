#!/usr/bin/env bash
# Trains on a Cloud TPU VM or pod slice that exists and holds a checkout (BUILD.md, "TPU pod"): the
# same command on every host. Run it where gcloud is set up; for several slices take gke.yaml.
#   launch/tpu_pod.sh NAME ZONE --config=configs/pod_prior_5b.py --workdir=gs://BUCKET/runs/5b [flags]
#   launch/tpu_pod.sh NAME ZONE stop      SIGTERM: all hosts save at the same step and exit
#   CHECKOUT=code/jukejax launch/tpu_pod.sh ...      folder of the checkout on the hosts
# --workdir and the data are in a bucket (docs/buckets.md), so that no disk has to be mounted, or on a
# file system that all hosts share. Training continues after this terminal is closed; its output is in
# CHECKOUT/train.log of each host.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "error: launch/tpu_pod.sh takes NAME ZONE and the flags of train (or stop), not '$*'" >&2
    exit 2
fi
name=$1 zone=$2
shift 2
CHECKOUT=${CHECKOUT:-jukejax}

on() { # on HOSTS COMMAND
    gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$1" --command="$2"
}

if [ "$1" = stop ]; then
    on 0 "kill -TERM \$(cat $(printf %q "$CHECKOUT")/train.pid)"
    exit
fi

# How many hosts there are, from the metadata server: with more than one, JAX joins them by itself.
metadata=http://metadata.google.internal/computeMetadata/v1/instance/attributes/worker-network-endpoints
hosts="curl -sf -H 'Metadata-Flavor: Google' $metadata | tr ',' '\n' | grep -c ."
flags=$(printf ' %q' "$@")
on all "cd $(printf %q "$CHECKOUT") && JAX_NUM_PROCESSES=\$($hosts) && export JAX_NUM_PROCESSES || exit 2
: >> train.log
nohup .venv/bin/python -m jukejax.train$flags >> train.log 2>&1 < /dev/null &
echo \$! > train.pid
tail -n 0 -f --pid=\$! train.log
wait \$!"
