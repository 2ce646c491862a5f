#!/usr/bin/env bash
# `jukejax prepare` on many machines, through Apache Beam (BUILD.md, "Preparing on many machines").
#   launch/prepare_beam.sh WHERE --input=MUSIC --output=DATA [any flag of prepare]
# WHERE is one of
#   processes   WORKERS (2) processes of Beam's DirectRunner on this machine
#   jobserver   a Beam job server: JOB_ENDPOINT=host:port, or one started here for this run
#   dataflow    Google Cloud: PROJECT, REGION, BUCKET (gs://...), IMAGE; --input and --cache in gs://
#   flink       an Apache Flink cluster: FLINK_MASTER=host:8081, IMAGE, PARALLELISM (8); a shared --cache
# `processes` and `jobserver` are tested (tests/integration/test_beam.py); `dataflow` and `flink` have not been run.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
WHERE=${1:?usage: launch/prepare_beam.sh processes|jobserver|dataflow|flink --input=... --output=...}
shift

case $WHERE in
processes)
    OPTIONS="--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=${WORKERS:-2}"
    ;;
jobserver)
    if [ -z "${JOB_ENDPOINT:-}" ]; then
        FOLDER=$(mktemp -d)
        "$PYTHON" -m apache_beam.runners.portability.local_job_service_main \
            --port_file "$FOLDER/port" > "$FOLDER/log" 2>&1 &
        SERVER=$!
        trap 'kill $SERVER; rm -rf "$FOLDER"' EXIT
        until [ -s "$FOLDER/port" ]; do
            kill -0 "$SERVER" 2> /dev/null || { cat "$FOLDER/log" >&2; exit 2; }
            sleep 0.2
        done
        JOB_ENDPOINT=localhost:$(cat "$FOLDER/port")
    fi
    OPTIONS="--runner=PortableRunner --job_endpoint=$JOB_ENDPOINT --environment_type=${ENVIRONMENT:-LOOPBACK}"
    ;;
dataflow)   # one thread a process: a track and its separation fill a core and 2 to 4 GB
    OPTIONS="--runner=DataflowRunner --project=${PROJECT:?} --region=${REGION:?}"
    OPTIONS+=" --temp_location=${BUCKET:?}/tmp --staging_location=$BUCKET/staging"
    OPTIONS+=" --sdk_container_image=${IMAGE:?} --sdk_location=container"
    OPTIONS+=" --number_of_worker_harness_threads=1 --max_num_workers=${MAX_WORKERS:-50}"
    OPTIONS+=" --machine_type=${MACHINE:-n2-highmem-4} --disk_size_gb=${DISK_GB:-50}"
    ;;
flink)
    OPTIONS="--runner=FlinkRunner --flink_master=${FLINK_MASTER:?} --parallelism=${PARALLELISM:-8}"
    OPTIONS+=" --environment_type=DOCKER --environment_config=${IMAGE:?}"
    ;;
*)
    echo "error: $WHERE is none of processes, jobserver, dataflow, flink" >&2
    exit 2
    ;;
esac

"$PYTHON" -m jukejax.prepare --runner=beam --beam_options="$OPTIONS" "$@"
