#!/usr/bin/env bash
# Trains on the GPUs of this machine, one process for each; every process runs the same command.
#   launch/gpu_local.sh --config=configs/house_prior.py --workdir=runs/prior [flags of train]
#   PROCESSES=2 launch/gpu_local.sh ...     so many, instead of one for each GPU (without GPUs: CPU)
#   CUDA_VISIBLE_DEVICES=2,3 launch/gpu_local.sh ...     only these GPUs
# Process 0 writes to this terminal, the others to LOGS (default .cache/launch). Ctrl-C or SIGTERM
# here reaches all of them: they save at the same step and exit; the same command continues. Exits
# with the code of the first process that failed, after the others were stopped (by force after GRACE
# seconds: a process without its peers may hang in a collective operation).
set -uom pipefail # -m: Ctrl-C reaches this script alone, which tells the others
cd "$(dirname "$0")/.." || exit

PYTHON=${PYTHON:-.venv/bin/python}
LOGS=${LOGS:-.cache/launch}
GRACE=${GRACE:-120}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92} # of a GPU, not 0.75

gpus=()
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
    IFS=, read -ra gpus <<< "$CUDA_VISIBLE_DEVICES"
elif command -v nvidia-smi > /dev/null; then
    mapfile -t gpus < <(nvidia-smi --query-gpu=index --format=csv,noheader 2> /dev/null)
fi
PROCESSES=${PROCESSES:-$((${#gpus[@]} > 0 ? ${#gpus[@]} : 1))}
if ! [[ $PROCESSES =~ ^[1-9][0-9]*$ ]]; then
    echo "error: PROCESSES=$PROCESSES is no number of processes; give 1 or more" >&2
    exit 2
fi
if [ "${#gpus[@]}" -gt 0 ] && [ "$PROCESSES" -gt "${#gpus[@]}" ]; then
    echo "error: PROCESSES=$PROCESSES, but GPUs: ${#gpus[@]}; give that many or fewer" >&2
    exit 2
fi
PORT=${PORT:-$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
mkdir -p "$LOGS"

pids=()
start() { # start NUMBER: one process; it sees one GPU
    local place=()
    [ "${#gpus[@]}" -eq 0 ] || export CUDA_VISIBLE_DEVICES=${gpus[$1]}
    [ "$PROCESSES" -eq 1 ] || place=("--coordinator=localhost:$PORT" "--num_processes=$PROCESSES" "--process_id=$1")
    exec "$PYTHON" -m jukejax.train "${ARGS[@]}" "${place[@]}"
}
ARGS=("$@")
for ((i = 0; i < PROCESSES; i++)); do
    if [ "$i" -eq 0 ]; then
        start 0 &
    else
        start "$i" > "$LOGS/process_$i.log" 2>&1 &
    fi
    pids+=($!)
done

pass_on() { # pass_on SIGNAL: to every process that still runs
    kill -s "$1" "${left[@]}" 2> /dev/null
    true
}
left=("${pids[@]}")
trap 'pass_on TERM' TERM INT

code=0
deadline=
while [ "${#left[@]}" -gt 0 ]; do
    sleep 0.3 &
    wait $!
    still=()
    for i in "${!pids[@]}"; do
        [[ " ${left[*]} " == *" ${pids[$i]} "* ]] || continue
        if kill -0 "${pids[$i]}" 2> /dev/null; then
            still+=("${pids[$i]}")
            continue
        fi
        wait "${pids[$i]}"
        found=$?
        if [ "$found" -ne 0 ] && [ "$code" -eq 0 ]; then
            code=$found
            echo "process $i ended with exit code $code" >&2
            if [ "$i" -gt 0 ]; then tail -n 5 "$LOGS/process_$i.log" >&2; fi
            deadline=$((SECONDS + GRACE))
        fi
    done
    left=("${still[@]}")
    if [ -n "$deadline" ] && [ "${#left[@]}" -gt 0 ]; then
        if [ "$SECONDS" -ge "$deadline" ]; then
            pass_on KILL
        elif [ "$code" -ne 143 ] && [ -z "${reported:-}" ]; then
            reported=yes
            pass_on TERM
        fi
    fi
done
exit "$code"
