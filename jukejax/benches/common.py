"""What all benches share: the fields of a row, the facts of the device, time and memory."""

import time
from collections.abc import Callable, Iterator


def row(bench: str, what: str, **fields) -> dict:
    """One line of a bench: every field that a reader may count on, null where it means nothing.

    Args:
      fields: config, batch, device, dtype, seconds, compile_seconds, peak_memory_bytes, and the
        bench's own figures. Floats are cut to four digits.
    """
    common = ("config", "batch", "device", "dtype", "seconds", "compile_seconds")
    found = {"bench": bench, "what": what} | dict.fromkeys((*common, "peak_memory_bytes"))
    for name, value in fields.items():
        found[name] = float(f"{value:.4g}") if isinstance(value, float) else value
    return found


def device() -> str:
    """The accelerators that JAX computes on, such as "2 x NVIDIA H100", or "cpu"."""
    import jax

    devices = jax.local_devices()
    count = f"{len(devices)} x " if len(devices) > 1 else ""
    return count + devices[0].device_kind


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compiled(work: Callable[[], object]) -> tuple[float, float]:
    """(seconds of a second run, how much longer the first one took: compiling and loading)."""
    first, second = timed(work), timed(work)
    return second, max(first - second, 0.0)


def table(rows: Iterator[dict]) -> Iterator[str]:
    """Lines for the screen, each as soon as its row is there; a heading where the columns change.

    Fields that are null, and the name of the bench, are left out.
    """
    before = None
    for found in rows:
        columns = [name for name in found if name != "bench"]
        widths = [max(len(name), 30 if name == "what" else 9) for name in columns]
        if columns != before:
            yield "  ".join(f"{n:<{w}}" for n, w in zip(columns, widths, strict=True)).rstrip()
            before = columns
        cells = ["" if found[name] is None else str(found[name]) for name in columns]
        yield "  ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)).rstrip()


def read_bandwidth(size: int = 1 << 28) -> float:
    """Bytes a second that this device reads from its memory: of a matrix times one to four vectors.

    Args:
      size: bytes of the matrix, far more than any cache holds.
    """
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((4096, size // 4 // 4096), jnp.float32)
    product = jax.jit(jnp.dot)

    def seconds(vectors: int) -> float:
        given = jnp.ones((vectors, 4096), jnp.float32)
        jax.block_until_ready(product(given, matrix))
        return min(timed(lambda: jax.block_until_ready(product(given, matrix))) for _ in range(3))

    return size / min(seconds(vectors) for vectors in (1, 2, 4))
