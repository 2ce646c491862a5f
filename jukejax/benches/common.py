"""Common functions of the benches: rows, tables, time and memory."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax

COMMON_FIELDS = ("config", "batch", "device", "dtype", "seconds", "compile_seconds")


def make_row(bench: str, what: str, **fields: Any) -> dict[str, Any]:
    """Returns a row of a bench with all common fields, null for those that do not apply.

    Args:
      fields: config, batch, device, dtype, seconds, compile_seconds, peak_memory_bytes, and the
        bench's own figures. Floats are rounded to four digits.
    """
    row = {"bench": bench, "what": what} | dict.fromkeys((*COMMON_FIELDS, "peak_memory_bytes"))
    for name, value in fields.items():
        row[name] = round_figure(value) if isinstance(value, float) else value
    return row


def round_figure(value: float) -> float:
    """Rounds to four digits."""
    return float(f"{value:.4g}")


def format_table(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yields a line for each row as soon as it is measured, and a heading when columns change.

    Null fields are blank; the name of the bench is omitted.
    """
    heading = None
    for row in rows:
        columns = [name for name in row if name != "bench"]
        widths = [max(len(name), 30 if name == "what" else 9) for name in columns]
        if columns != heading:
            yield _format_cells(columns, widths)
            heading = columns
        yield _format_cells(
            ["" if row[name] is None else str(row[name]) for name in columns], widths
        )


def _format_cells(cells: list[str], widths: list[int]) -> str:
    return "  ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)).rstrip()


def name_devices() -> str:
    """Returns the accelerators that JAX computes on, such as "2 x NVIDIA H100", or "cpu"."""
    import jax

    devices = jax.local_devices()
    count = f"{len(devices)} x " if len(devices) > 1 else ""
    return count + devices[0].device_kind


def time_call(work: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def time_twice(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the seconds of a second call, and the additional seconds of the first (compiling)."""
    first, second = time_call(work), time_call(work)
    return second, max(first - second, 0.0)


def count_program_bytes(compiled: "jax.stages.Compiled") -> int:
    """Returns the compiler's figure of a program's memory: arguments, results, temporaries."""
    sizes: Any = compiled.memory_analysis()
    return (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
    )


def bound_by_flops(flops: float, dtype: str, devices: int = 1) -> dict[str, Any]:
    """Returns the fields of a row for its least seconds by operations.

    Args:
      flops: that the measured work needs at least.
      dtype: compute type.
      devices: number of devices that share the work.

    Returns:
      bound, and bound_seconds: at the device's peak; null for devices that are not tabulated.
    """
    import jax

    from jukejax.runtime.devices import find_peak_flops

    peak = find_peak_flops(jax.devices()[0].device_kind, dtype)
    return {"bound": "flops", "bound_seconds": flops / peak / devices if peak else None}


def bound_by_bandwidth(size: float, measured: float) -> dict[str, Any]:
    """Returns the fields of a row for its least seconds by memory traffic.

    Args:
      size: bytes that the measured work must read.
      measured: bandwidth for devices that are not tabulated, bytes/s.
    """
    import jax

    from jukejax.runtime.devices import find_device

    kind = find_device(jax.devices()[0].device_kind)
    bandwidth = kind.bandwidth if kind else measured
    return {"bound": "bandwidth", "bound_seconds": size / bandwidth}


def measure_read_bandwidth(size: int = 0) -> float:
    """Measures the read bandwidth of this device, bytes/s: a matrix times one to four vectors.

    Args:
      size: bytes of the matrix, which must exceed all caches, and take much longer than a call; 0:
        256 MiB on a CPU, and 2 GiB on an accelerator, where it is 0.4 ms at 4.8 TB/s.
    """
    import jax
    import jax.numpy as jnp

    size = size or 1 << (28 if jax.default_backend() == "cpu" else 31)
    matrix = jnp.ones((4096, size // 4 // 4096), jnp.float32)
    product = jax.jit(jnp.dot)

    def time_product(vectors: int) -> float:
        left = jnp.ones((vectors, 4096), jnp.float32)
        jax.block_until_ready(product(left, matrix))
        return min(
            time_call(lambda: jax.block_until_ready(product(left, matrix))) for _ in range(3)
        )

    return size / min(time_product(vectors) for vectors in (1, 2, 4))
