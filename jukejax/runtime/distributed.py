"""Process groups of runs: start, barriers, the writing process, and shutdown."""

import os
import sys
from dataclasses import dataclass

import jax

# A process may have finished its tracks hours before another one.
_LONGEST_WAIT_MS = 7 * 24 * 3600 * 1000
# Variables with the number of processes in clusters that jax.distributed.initialize() detects.
_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@dataclass(frozen=True)
class Place:
    """This process among those of a run.

    Attributes:
      coordinator: HOST:PORT of process 0; "" if the cluster sets it.
      num_processes, process_id: 0 and -1 if the cluster sets them.
    """

    coordinator: str = ""
    num_processes: int = 0
    process_id: int = -1

    def __post_init__(self) -> None:
        is_set = (bool(self.coordinator), self.num_processes > 0, self.process_id >= 0)
        if any(is_set) and not all(is_set):
            raise ValueError(
                "--coordinator, --num_processes and --process_id belong together: give all three "
                "or none"
            )
        if all(is_set) and self.process_id >= self.num_processes:
            raise ValueError(
                f"--process_id={self.process_id} is not below --num_processes={self.num_processes}"
            )


def join_processes(place: Place) -> None:
    """Joins the other processes of a run, if any, before the first use of a device.

    The processes are defined by flags, or by the environment: JAX_COORDINATOR_ADDRESS,
      JAX_NUM_PROCESSES and
    JAX_PROCESS_ID; Slurm or Open MPI with more than one task; TPU_WORKER_HOSTNAMES on GKE. On
    TPU VMs JAX finds the pod through a metadata server: only JAX_NUM_PROCESSES must be set, as
    launch/tpu_pod.sh does.

    Raises:
      ValueError: the other processes cannot be reached.
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
    """Returns true if the environment describes more than one process."""
    counts = [os.environ.get(name, "1") for name in _COUNTS]
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    on_cpu = os.environ.get("JAX_PLATFORMS") == "cpu"
    return any(count.isdigit() and int(count) > 1 for count in counts) or (
        len(hosts) > 1 and not on_cpu
    )


def is_writer() -> bool:
    """Returns true if this process writes the files of the run."""
    return jax.process_index() == 0


def is_shared() -> bool:
    """Returns true if the run has more than one process."""
    return jax.process_count() > 1


def barrier(name: str) -> None:
    """Waits until every process has called this function with the same name."""
    if is_shared():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def wait_for_processes(name: str) -> None:
    """Waits until every process has called this function with the same name, for days if needed.

    Unlike `barrier` it needs no device, whose collective operations have a time limit.

    Raises:
      ValueError: another process has ended.
    """
    if not is_shared():
        return
    from orbax.checkpoint import multihost

    try:
        multihost.get_barrier_sync_fn()(key=name, timeout_ms=_LONGEST_WAIT_MS)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"another process of this run has ended ({reason}); see there") from error


def leave_processes() -> None:
    """Waits until every process calls this function, then closes their connection.

    Without it, slower processes are aborted when process 0 ends. A process that fails alone must
    not call it, since it would wait.
    """
    try:
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        print(f"warning: the other processes cannot be waited for ({reason})", file=sys.stderr)
