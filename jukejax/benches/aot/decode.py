"""The token loop compiled for a device that is not here: its memory, bytes and kernels a step."""

import time
from collections.abc import Iterator

from absl import flags

from jukejax.benches import common
from jukejax.benches.aot import hlo, hlo_costs, topologies

# What starts no kernel: it names, groups or waits.
NO_KERNEL = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "partition-id", "replica-id", "opt-barrier", "add-dependency",
    "async-update", "iota",
}  # fmt: skip


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """One row, for one device of the kind that --aot names."""
    topology = topologies.parse(values.aot)
    topologies.prepare(topology)
    with topologies.quiet():
        import jax  # noqa: F401
    from jukejax.benches import decode_program
    from jukejax.benches.aot import step as aot
    from jukejax.runtime import devices

    dtype = values.dtype or ("float16" if topology.kind == "v100" else "bfloat16")
    loop = decode_program.make(
        values.config,
        batch=values.batch,
        dtype=dtype,
        weights=values.weights,
        platform="tpu" if topology.is_tpu else "gpu",
    )
    device = topologies.devices(topology)[0]
    begun = time.perf_counter()
    compiled = loop.compile(device)
    seconds = time.perf_counter() - begun
    step = step_module(hlo.parse(compiled.as_text()))
    kernels = kernels_in(step)
    traffic = hlo_costs.traffic(step)
    kind = devices.find(device.device_kind)
    least = loop.bytes_per_step()
    yield common.row(
        "decode",
        "compiled only",
        config=values.config,
        batch=values.batch,
        device=str(topology),
        dtype=dtype,
        compile_seconds=seconds,
        peak_memory_bytes=aot.bytes_needed(compiled),
        weights=values.weights,
        tokens=None,
        tokens_per_s=None,
        positions_per_s_by_eighth=None,
        bandwidth_share=None,
        temporary_bytes=compiled.memory_analysis().temp_size_in_bytes,
        kernels_per_step=kernels,
        kernels_per_layer=kernels / loop.stack.num_layers,
        bytes_per_step=least,
        compiled_bytes_per_step=traffic,
        ms_per_step_at_full_bandwidth=1000 * least / kind.bandwidth if kind else None,
        cache_bytes_per_sequence=loop.cache_bytes(),
        dense_cache_bytes_per_sequence=loop.dense_cache_bytes(),
    )


def step_module(module: hlo.Module) -> hlo.Module:
    """The body of the innermost loop with most instructions: one step, as a module of its own."""
    bodies = {
        instruction.called[0]
        for _, instruction, _, _ in hlo.walk(module, into_fusions=False)
        if instruction.opcode == "while"
    }
    if not bodies:
        raise ValueError("the compiled program has no loop")
    size = {name: len(module.computations[name].instructions) for name in bodies}
    return hlo.Module(module.computations, max(size, key=size.get))


def kernels_in(step: hlo.Module) -> int:
    """Kernels, library calls and copies that a step starts."""
    return sum(
        times
        for _, instruction, times, _ in hlo.walk(step, into_fusions=False)
        if instruction.opcode not in NO_KERNEL and not instruction.opcode.endswith("-done")
    )
