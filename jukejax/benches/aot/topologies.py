"""Accelerators that are not here, described well enough to compile for them.

    v5e:16x16   v4:4x4x4   v5p:2x2x2   v6e:4x4      TPU slices, by their chips
    v100:8   a100:8   h100:8   h200:8               GPUs of one host

The compilers come as packages (libtpu; JAX's CUDA plugin and ptxas) that launch/aot_check.sh puts
into a folder of their own. `prepare` must run before JAX is imported.
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

PACKAGES = Path(os.environ.get("JUKEJAX_AOT", Path(__file__).parents[3] / ".cache" / "aot"))
FETCH = "run launch/aot_check.sh fetch"


@dataclasses.dataclass(frozen=True)
class Tpu:
    """A kind of TPU.

    Attributes:
      axes: dimensions of its torus.
      ring: bytes a second that a chip sends along one axis of the torus, both ways together.
      options: what the compiler must be told beside the name.
    """

    axes: int
    ring: float
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A kind of GPU, in the compiler's terms.

    Attributes:
      name: as the driver says it.
      capability: compute capability.
      cores: streaming multiprocessors.
      fpus: float32 units of each.
      shared: bytes of shared memory of a multiprocessor, and the most that a block can have.
      bandwidth, memory, cache: of its memory, bytes a second and bytes; of its L2 cache, bytes.
      clock: GHz.
      ring: bytes a second that a GPU sends to its neighbours on the host, over all NVLinks.
    """

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
TPUS = {
    "v4": Tpu(axes=3, ring=100e9, options={"chip_config_name": "megacore"}),
    "v5e": Tpu(axes=2, ring=100e9),
    "v5p": Tpu(axes=3, ring=200e9, options={"chip_config_name": "megacore"}),
    "v6e": Tpu(axes=2, ring=200e9),
}
# NVIDIA's data sheets and the CUDA programming guide's table of compute capabilities; of NVLink's
# total half goes out.
GPUS = {
    "v100": Gpu("Tesla V100-SXM2-16GB", (7, 0), 80, 64, (98304, 98304), 900e9, 16_900_000_000,
                6_291_456, 1.53, ring=150e9),
    "a100": Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, (167936, 166912), 2039e9, 85_000_000_000,
                41_943_040, 1.41, ring=300e9),
    "h100": Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, (233472, 232448), 3350e9, 85_000_000_000,
                52_428_800, 1.98, ring=450e9),
    "h200": Gpu("NVIDIA H200", (9, 0), 132, 128, (233472, 232448), 4800e9, 151_000_000_000,
                52_428_800, 1.98, ring=450e9),
}  # fmt: skip
# Between slices or hosts: a TPU host's 200 Gbit/s for 8 chips (v5e's page), bytes a second a chip.
BETWEEN_SLICES = 3.1e9


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices by kind and number.

    Attributes:
      kind: a key of TPUS or GPUS.
      shape: chips along each axis of a slice; (n,) for GPUs.
      slices: TPU slices, joined by the data centre's network.
    """

    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    def __post_init__(self):
        known = (*TPUS, *GPUS)
        if self.kind not in known:
            raise ValueError(f"--aot names {self.kind!r}; known kinds: {', '.join(known)}")
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
    def ring(self) -> float:
        """Bytes a second that a device sends inside a slice or host, on one ring."""
        return (TPUS if self.is_tpu else GPUS)[self.kind].ring

    def __str__(self) -> str:
        several = f" x {self.slices} slices" if self.slices > 1 else ""
        return f"{self.kind}:{'x'.join(map(str, self.shape))}{several}"


def parse(text: str, slices: int = 1) -> Topology:
    """`v5e:16x16` or `h200:8` as a topology."""
    kind, _, shape = text.partition(":")
    if not re.fullmatch(r"\d+(x\d+)*", shape):
        raise ValueError(f"--aot={text!r} is not of the form KIND:SHAPE, as v5e:16x16 or h200:8")
    return Topology(kind, tuple(int(size) for size in shape.split("x")), slices)


def prepare(topology: Topology, effort: str = "O0") -> None:
    """Sets up this process to compile for a topology; before JAX is imported, and for good.

    Args:
      effort: O0 to O3, how hard the compiler tries; "" leaves JAX's own.

    Raises:
      ValueError: the compiler's packages are not there.
    """
    if "jax" in sys.modules:
        raise RuntimeError("topologies.prepare must run before jax is imported")
    settings = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if effort:
        settings["JAX_OPTIMIZATION_LEVEL"] = effort
    if topology.is_tpu:
        found = importlib.util.find_spec("libtpu")
        library = PACKAGES / "tpu" / "libtpu" / "libtpu.so"
        if found is not None:
            library = Path(found.origin).parent / "libtpu.so"
        if not library.exists():
            raise ValueError(f"compiling for TPUs needs libtpu in {library.parent}; {FETCH}")
        settings |= {
            "TPU_LIBRARY_PATH": str(library),
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        }
    else:
        folder = PACKAGES / "cuda"
        tools = folder / "nvidia" / "cuda_nvcc"
        if not (tools / "bin" / "ptxas").exists() or not (folder / "jax_plugins").exists():
            raise ValueError(f"compiling for GPUs needs JAX's CUDA plugin in {folder}; {FETCH}")
        sys.path.insert(0, str(folder))
        settings["PATH"] = f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        flags = os.environ.get("XLA_FLAGS", "")
        settings["XLA_FLAGS"] = f"{flags} --xla_gpu_cuda_data_dir={tools}".strip()
    os.environ.update(settings)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what JAX's CUDA plugin says on stderr, when it is loaded, of drivers that it misses."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def devices(topology: Topology) -> list:
    """The described devices, after `prepare`; they can be compiled for, and nothing else."""
    from jax.experimental import topologies

    try:
        if topology.is_tpu:
            options = dict(TPUS[topology.kind].options)
            if topology.slices > 1:
                options["num_slices"] = topology.slices
            name = f"{topology.kind}:{'x'.join(map(str, topology.shape))}"
            found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
        else:
            with quiet():
                found = topologies.get_topology_desc(
                    platform="cuda",
                    topology_name="",
                    target_config=target_config(GPUS[topology.kind]),
                    topology=f"1x1x{topology.size}",
                )
    except Exception as error:
        raise ValueError(f"cannot describe {topology}: {str(error).splitlines()[0]}") from error
    if len(found.devices) != topology.size:
        raise ValueError(f"{topology} has {len(found.devices)} devices, not {topology.size}")
    return list(found.devices)


def target_config(gpu: Gpu) -> str:
    """A GPU as XLA's compiler wants it described, a GpuTargetConfigProto in text form."""
    major, minor = gpu.capability
    shared, shared_by_block = gpu.shared
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared}
  shared_memory_per_block_optin: {shared_by_block}
  threads_per_core_limit: 2048
  core_count: {gpu.cores}
  fpus_per_core: {gpu.fpus}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: {gpu.bandwidth:.0f}
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock}
  device_memory_size: {gpu.memory}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{gpu.name}"
"""
