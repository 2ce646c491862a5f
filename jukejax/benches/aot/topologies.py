"""Descriptions of TPU slices and GPUs of other machines, for their compilers.

    v5e:16x16   v4:4x4x4   v5p:2x2x2   v6e:4x4      TPU slices, by their chips
    v100:8   a100:8   h100:8   h200:8   rtx4090:1   GPUs of one host

The compilers are packages (libtpu; JAX's CUDA plugin and ptxas) that launch/aot_check.sh installs
into a separate folder. `set_up_compiler` must be called before JAX is imported.
"""

import contextlib
import dataclasses
import importlib.util
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import jax

PACKAGES = Path(os.environ.get("JUKEJAX_AOT", Path(__file__).parents[3] / ".cache" / "aot"))
FETCH = "run launch/aot_check.sh fetch"


class Tpu(NamedTuple):
    """A kind of TPU: axes of its torus; bytes a second that a chip sends along one of them, both
    ways together; options of the compiler beside the name."""

    axes: int
    ring: float
    options: dict[str, Any]


class Gpu(NamedTuple):
    """A kind of GPU: multiprocessors (`cores`) with `fpus` float32 units and `shared` bytes of
    shared memory each (and the most that a block can have); bytes a second and bytes of its memory;
    bytes of its L2 cache; GHz; bytes a second to its neighbors on the host, over all NVLinks."""

    name: str
    capability: tuple[int, int]
    cores: int
    fpus: int
    shared: tuple[int, int]
    bandwidth: float
    memory: int
    cache: int
    clock: float
    ring: float


# Links: Google Cloud's pages on each TPU ("bidirectional inter-chip interconnect bandwidth per
# chip" over its ports: 400 GB/s over 4 for v5e, 800 over 4 for v6e, 1200 over 6 for v5p; for v4 the
# all-reduce bandwidth of a pod, 1.1 PB/s over 4096 chips, fits the same 100 GB/s a port as v5e).
_MEGACORE = {"chip_config_name": "megacore"}
TPUS = {
    "v4": Tpu(axes=3, ring=100e9, options=_MEGACORE),
    "v5e": Tpu(axes=2, ring=100e9, options={}),
    "v5p": Tpu(axes=3, ring=200e9, options=_MEGACORE),
    "v6e": Tpu(axes=2, ring=200e9, options={}),
}
# NVIDIA's data sheets (of the RTX 4090 the white paper of its architecture, Ada) and the CUDA
# programming guide's table of compute capabilities; of NVLink's total half goes out, and the RTX
# 4090 has PCIe 4.0 x16.
GPUS = {
    "v100": Gpu("Tesla V100-SXM2-16GB", (7, 0), 80, 64, (98304, 98304), 900e9, 16_900_000_000,
                6_291_456, 1.53, ring=150e9),
    "a100": Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, (167936, 166912), 2039e9, 85_000_000_000,
                41_943_040, 1.41, ring=300e9),
    "h100": Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, (233472, 232448), 3350e9, 85_000_000_000,
                52_428_800, 1.98, ring=450e9),
    "h200": Gpu("NVIDIA H200", (9, 0), 132, 128, (233472, 232448), 4800e9, 151_000_000_000,
                52_428_800, 1.98, ring=450e9),
    "rtx4090": Gpu("NVIDIA GeForce RTX 4090", (8, 9), 128, 128, (102400, 101376), 1008e9,
                   25_300_000_000, 75_497_472, 2.52, ring=32e9),
}  # fmt: skip
# Between slices or hosts: a TPU host's 200 Gbit/s for 8 chips (v5e's page), bytes a second a chip.
BETWEEN_SLICES = 3.1e9


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips of a kind along each axis of a slice, (n,) for GPUs; slices of TPUs share a network."""

    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    def __post_init__(self) -> None:
        kinds = (*TPUS, *GPUS)
        if self.kind not in kinds:
            raise ValueError(f"--aot names {self.kind!r}; known kinds: {', '.join(kinds)}")
        axes = TPUS[self.kind].axes if self.is_tpu else 1
        if len(self.shape) != axes or min(self.shape) < 1:
            example = "8" if not self.is_tpu else ("4x4", "4x4x4")[axes - 2]
            raise ValueError(
                f"--aot={self.kind}:{'x'.join(map(str, self.shape))} must have {axes} sizes, as in "
                f"{self.kind}:{example}"
            )
        if self.slices < 1 or (self.slices > 1 and not self.is_tpu):
            raise ValueError(f"--slices={self.slices}: 1, or for TPUs a number of slices")

    @property
    def is_tpu(self) -> bool:
        return self.kind in TPUS

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.slices

    @property
    def default_dtype(self) -> str:
        """The compute type of its devices: V100s have no bfloat16."""
        return "float16" if self.kind == "v100" else "bfloat16"

    @property
    def ring(self) -> float:
        """Bytes a second that a device sends inside a slice or host, on one ring."""
        return (TPUS if self.is_tpu else GPUS)[self.kind].ring

    def __str__(self) -> str:
        several = f" x {self.slices} slices" if self.slices > 1 else ""
        return f"{self.kind}:{'x'.join(map(str, self.shape))}{several}"


def parse_topology(text: str, slices: int = 1) -> Topology:
    """Parses `v5e:16x16` or `h200:8`."""
    kind, _, shape = text.partition(":")
    if not re.fullmatch(r"\d+(x\d+)*", shape):
        raise ValueError(f"--aot={text!r} is not of the form KIND:SHAPE, as v5e:16x16 or h200:8")
    return Topology(kind, tuple(int(size) for size in shape.split("x")), slices)


def set_up_compiler(topology: Topology, effort: str = "O0") -> None:
    """Configures this process permanently to compile for a topology, and imports JAX.

    Args:
      effort: optimization effort, O0 to O3; "": JAX's default.

    Raises:
      ValueError: the compiler's packages are missing.
    """
    set_environment(topology, effort)
    with silence_stderr():
        import jax  # noqa: F401


def set_environment(topology: Topology, effort: str = "O0") -> None:
    """Sets the environment of `set_up_compiler`."""
    if "jax" in sys.modules:
        raise RuntimeError("topologies.set_environment must run before jax is imported")
    settings = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if effort:
        settings["JAX_OPTIMIZATION_LEVEL"] = effort
    os.environ.update(settings | (_set_tpu() if topology.is_tpu else _set_gpu()))


def _set_tpu() -> dict[str, str]:
    spec = importlib.util.find_spec("libtpu")
    folder = Path(spec.origin).parent if spec and spec.origin else PACKAGES / "tpu" / "libtpu"
    library = folder / "libtpu.so"
    if not library.exists():
        raise ValueError(f"compiling for TPUs needs libtpu in {folder}; {FETCH}")
    return {
        "TPU_LIBRARY_PATH": str(library),
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }


def _set_gpu() -> dict[str, str]:
    folder = PACKAGES / "cuda"
    tools = folder / "nvidia" / "cuda_nvcc"
    if not (tools / "bin" / "ptxas").exists() or not (folder / "jax_plugins").exists():
        raise ValueError(f"compiling for GPUs needs JAX's CUDA plugin in {folder}; {FETCH}")
    sys.path.insert(0, str(folder))
    flags = os.environ.get("XLA_FLAGS", "")
    return {
        "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "XLA_FLAGS": f"{flags} --xla_gpu_cuda_data_dir={tools}".strip(),
    }


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Discards the messages of JAX's CUDA plugin about missing drivers."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def describe_devices(topology: Topology) -> "list[jax.Device]":
    """Returns the described devices, after `set_up_compiler`; programs can be compiled for them."""
    from jax.experimental import topologies

    try:
        if topology.is_tpu:
            options = dict(TPUS[topology.kind].options)
            if topology.slices > 1:
                options["num_slices"] = topology.slices
            name = f"{topology.kind}:{'x'.join(map(str, topology.shape))}"
            description = topologies.get_topology_desc(name, "tpu", **options)
        else:
            options = {
                "target_config": format_target_config(GPUS[topology.kind]),
                "topology": f"1x1x{topology.size}",
            }
            with silence_stderr():
                description = topologies.get_topology_desc("", "cuda", **options)
    except Exception as error:
        raise ValueError(f"cannot describe {topology}: {str(error).splitlines()[0]}") from error
    if len(description.devices) != topology.size:
        raise ValueError(f"{topology} has {len(description.devices)} devices, not {topology.size}")
    return list(description.devices)


def format_target_config(gpu: Gpu) -> str:
    """Formats a GPU's description for XLA, a GpuTargetConfigProto in text form."""
    major, minor = gpu.capability
    shared, shared_by_block = gpu.shared
    return f"""gpu_device_info {{
  core_count: {gpu.cores} fpus_per_core: {gpu.fpus} clock_rate_ghz: {gpu.clock}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  device_memory_size: {gpu.memory} memory_bandwidth: {gpu.bandwidth:.0f} l2_cache_size: {gpu.cache}
  shared_memory_per_core: {shared} shared_memory_per_block_optin: {shared_by_block}
  shared_memory_per_block: 49152 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{gpu.name}"
"""
