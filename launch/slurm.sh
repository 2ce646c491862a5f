#!/usr/bin/env bash
# Trains on the GPUs of a Slurm cluster, one process for each; every process runs the same command.
#   sbatch launch/slurm.sh --config=configs/house_prior_1b.py --workdir=runs/prior_1b [flags of train]
#   sbatch --nodes=1 --ntasks-per-node=4 --gpus-per-node=4 launch/slurm.sh ...     another size
# Submit it in the checkout, on a file system that all nodes share. Five minutes before the time
# limit all processes save at the same step, and the job is queued again to continue.
#SBATCH --job-name=jukejax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x_%j.log
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:?start it with sbatch}" || exit

PYTHON=${PYTHON:-.venv/bin/python}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.cache/jax}
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92} # of a GPU, not 0.75

ending=
trap 'ending=yes; scancel --signal=TERM "$SLURM_JOB_ID.0"' USR1 # step 0: all processes, not this script

# JAX takes ranks from Slurm and uses GPU number SLURM_LOCALID of the node, so all must be visible.
srun --gpu-bind=none --wait=300 "$PYTHON" -m jukejax.train "$@" &
wait $!
code=$?
if [ -n "$ending" ]; then # that was the signal; now for the processes
    wait $!
    code=$?
    [ "$code" -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
