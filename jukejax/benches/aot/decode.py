"""Memory, bytes and kernels a step of a token loop compiled for a described device."""

from typing import Any

import jax

from jukejax.benches import common
from jukejax.benches.aot import hlo, traffic
from jukejax.benches.decode_program import DecodeLoop
from jukejax.runtime import devices


def inspect_loop(loop: DecodeLoop, device: jax.Device) -> dict[str, Any]:
    """Compiles a token loop for a described device; returns its figures, null for run times."""
    compiled, compile_seconds = loop.compile(device)
    sizes: Any = compiled.memory_analysis()
    costs = compiled.cost_analysis()  # of one step, as a loop's body is counted once
    body = hlo.extract_loop_body(hlo.parse_module(compiled.as_text() or ""))
    kernels = hlo.count_kernels(body)
    kind = devices.find_device(device.device_kind)
    least = loop.bytes_per_step()
    return dict.fromkeys(
        ("tokens", "tokens_per_s", "positions_per_s_by_eighth", "bandwidth_share")
    ) | {
        "compile_seconds": compile_seconds,
        "peak_memory_bytes": common.count_program_bytes(compiled),
        "temporary_bytes": sizes.temp_size_in_bytes,
        "kernels_per_step": kernels,
        "kernels_per_layer": kernels / loop.stack.num_layers,
        "kernel_bytes_per_step": traffic.count_kernel_bytes(body),
        "bytes_per_step": least,
        "compiled_bytes_per_step": int(costs["bytes accessed"]) if costs else None,
        "ms_per_step_at_full_bandwidth": 1000 * least / kind.bandwidth if kind else None,
        "cache_bytes_per_sequence": loop.cache_bytes(),
        "dense_cache_bytes_per_sequence": loop.dense_cache_bytes(),
    }
