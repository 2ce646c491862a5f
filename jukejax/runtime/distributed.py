"""Several processes as one run: who they are, who writes, and how all of them stop together."""

import os
import sys
from dataclasses import dataclass

import jax

# What tells jax.distributed.initialize() by itself where it is, and how many are there.
_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@dataclass(frozen=True)
class Place:
    """This process among those of a run.

    Attributes:
      coordinator: HOST:PORT of process 0; "" where the cluster says it.
      num_processes, process_id: 0 and -1 where the cluster says it.
    """

    coordinator: str = ""
    num_processes: int = 0
    process_id: int = -1

    def __post_init__(self):
        given = (bool(self.coordinator), self.num_processes > 0, self.process_id >= 0)
        if any(given) and not all(given):
            raise ValueError(
                "--coordinator, --num_processes and --process_id belong together: give all three "
                "or none"
            )
        if all(given) and self.process_id >= self.num_processes:
            raise ValueError(
                f"--process_id={self.process_id} is not below --num_processes={self.num_processes}"
            )


def join(place: Place) -> None:
    """Makes this process one of many, if it is; to be called before any device is used.

    By flags, or by the environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID;
    Slurm or Open MPI with more than one task; TPU_WORKER_HOSTNAMES on GKE. TPU VMs know their pod
    only through a metadata server: there JAX_NUM_PROCESSES alone says that there are others, as
    launch/tpu_pod.sh does, and JAX finds them.

    Raises:
      ValueError: the others did not come.
    """
    try:
        if place.coordinator:
            jax.distributed.initialize(place.coordinator, place.num_processes, place.process_id)
        elif os.environ.get("JAX_COORDINATOR_ADDRESS"):
            jax.distributed.initialize(
                os.environ["JAX_COORDINATOR_ADDRESS"],
                int(os.environ.get("JAX_NUM_PROCESSES", "1")),
                int(os.environ.get("JAX_PROCESS_ID", "0")),
            )
        elif is_one_of_many():
            jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"cannot join the other processes of this run ({str(error).splitlines()[0]}); are all "
            "of them started, with the same coordinator?"
        ) from error


def is_one_of_many() -> bool:
    """Whether the environment speaks of more than one process."""
    counts = [os.environ.get(name, "1") for name in _COUNTS]
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    on_cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    return any(count.isdigit() and int(count) > 1 for count in counts) or (
        len(hosts) > 1 and not on_cpu
    )


def is_writer() -> bool:
    """Whether this process writes the run's logs."""
    return jax.process_index() == 0


def is_shared() -> bool:
    """Whether this run has other processes."""
    return jax.process_count() > 1


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if is_shared():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def leave() -> None:
    """Waits until every process is done, then ends the connection between them.

    Without it, whoever is slower is aborted as soon as process 0 has gone. Not for a process that
    fails alone: the others would not come.
    """
    try:
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        print(f"warning: the other processes cannot be waited for ({reason})", file=sys.stderr)
