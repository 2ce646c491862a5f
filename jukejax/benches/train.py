"""Times a training step on this machine, or reports its needs on other devices.

python -m jukejax.bench train --config=tiny --batch=4
python -m jukejax.bench train --config=configs/house_prior.py --dtype=bfloat16 --json
python -m jukejax.bench train --config=small --attention=dense
python -m jukejax.bench train --config=small --profile=runs/profile
python -m jukejax.bench train --aot=v5e:16x16 --config=configs/pod_prior_5b.py
python -m jukejax.bench train --aot=v100:8 --config=configs/house_prior.py --batch=32

The shapes tiny, small, train_small, small_prior and upsampler are those of Hugging Face's port in
the reference bench: AdamW, clipping, no dropout, random codes, conditions of zeros. A config is
trained on random data. With --aot the step is only compiled, for described devices
(launch/aot_check.sh fetches the compilers), and its memory, messages and products are printed.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from jukejax.benches import common
from jukejax.common.formatting import format_count
from jukejax.runtime import memory, platform_flags

if TYPE_CHECKING:
    import jax
    from ml_collections import ConfigDict

    from jukejax.benches.aot.topologies import Topology
    from jukejax.training.program import Program
    from jukejax.training.task import Task

ATTENTION = {"sparse": 2, "dense": 0}  # attn_order
NAMES = ("tiny", "small", "train_small", "small_prior", "upsampler")


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config",
        "tiny",
        f"{', '.join(NAMES)}, or a file of configs/ with :VARIANT behind it.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "batch",
        0,
        "Windows in a step, of all devices; 0: the config's, or 1 for a shape.",
        0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "dtype", "", "float32, bfloat16 or float16; default: the config's.", flag_values=values
    )
    flags.DEFINE_string(
        "remat", "", "none, dots, block or full; default: the config's.", flag_values=values
    )
    flags.DEFINE_enum(
        "attention",
        "",
        ["", "sparse", "dense"],
        "sparse: pattern 2 (kinds 1, 2, 3); dense: every layer is dense; default: the config's.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "backend", "", "Attention backend (ops/attention/backends.py).", flag_values=values
    )
    flags.DEFINE_integer(
        "accumulate", 0, "Parts of a batch; 0: the config's.", 0, flag_values=values
    )
    flags.DEFINE_string(
        "mesh", "", "Devices an axis, as data:4,fsdp:64; default: the config's.", flag_values=values
    )
    flags.DEFINE_integer("repeat", 3, "Timed steps; the fastest counts.", 1, flag_values=values)
    flags.DEFINE_string(
        "profile",
        "",
        "Folder for a trace of further steps, after the timed ones, for TensorBoard and xprof.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "peak_flops",
        0.0,
        "FLOP/s of one device, for the MFU of devices that are not tabulated.",
        0.0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "aot",
        "",
        "Compile for these devices instead: v5e:16x16, v4:4x4x4, v100:8, h200:8 ...",
        flag_values=values,
    )
    flags.DEFINE_integer("slices", 1, "TPU slices of that shape.", 1, flag_values=values)
    flags.DEFINE_enum(
        "effort",
        "O0",
        ["", "O0", "O1", "O2", "O3"],
        "Optimization effort of the compiler, with --aot.",
        flag_values=values,
    )


def measure_rows(values: flags.FlagValues) -> Iterator[dict[str, Any]]:
    """Yields the row of a step."""
    if values.aot and values.profile:
        raise ValueError("--profile traces steps on this machine, and --aot only compiles them")
    if values.aot:
        from jukejax.benches.aot import topologies

        topology = topologies.parse_topology(values.aot, values.slices)
        topologies.set_up_compiler(topology, values.effort)
        yield _compile_elsewhere(values, topology)
    else:
        yield _measure_here(values)


def build_bench_program(
    values: flags.FlagValues, devices: "list[jax.Device] | None", slices: int = 1
) -> "tuple[Program, str]":
    """Builds the program of the flags for these devices (None: those of this machine).

    Returns:
      The program and its compute type.
    """
    from jukejax.benches import shapes
    from jukejax.runtime import sharding
    from jukejax.training import program

    is_shape = values.config in shapes.TRANSFORMERS
    load = shapes.transformer_config if is_shape else shapes.load_config
    config = load(values.config)
    if devices is None:
        platform_flags.keep_memory()
        platform_flags.set_defaults(*platform_flags.transformer_shape(config))
    _apply_flags(config, values)
    if slices > 1:
        config.mesh.slices = slices
    task: Task
    if is_shape:
        task = shapes.TransformerTask(config)
    else:
        task = program.make_task(config, with_data=False)
    mesh = sharding.make_mesh(program.mesh_config(config), devices)
    return program.build_program(task, program.make_recipe(config), mesh), config.dtype


def _apply_flags(config: "ConfigDict", values: flags.FlagValues) -> None:
    """Sets the given flags in a config."""
    from jukejax.benches import shapes

    if values.batch:
        config.data.batch_size = values.batch
    if values.dtype:
        config.dtype = values.dtype
    if values.accumulate:
        config.accumulate = values.accumulate
    if values.mesh:
        config.mesh = shapes.parse_mesh(values.mesh)
    if values.remat:
        if config.task != "prior":
            raise ValueError("--remat is for priors; a VQ-VAE has model.remat=true or false")
        config.model.transformer.remat = values.remat
    if values.attention or values.backend:
        if config.task != "prior":
            raise ValueError("--attention and --backend are for priors; a VQ-VAE has no attention")
        stack = config.model.transformer
        if values.attention:
            stack.attn_order = ATTENTION[values.attention]
        if values.backend:
            stack.attention = values.backend


def _measure_here(values: flags.FlagValues) -> dict[str, Any]:
    from jukejax.benches import training_step
    from jukejax.runtime import devices
    from jukejax.training import flops

    program, dtype = build_bench_program(values, None)
    compiled, compile_seconds = training_step.compile_step(program)
    examples = program.recipe.batch_size
    seconds = training_step.measure_step(program, compiled, values.repeat, values.profile)
    kind = program.mesh.devices.flat[0].device_kind
    peak = values.peak_flops or devices.find_peak_flops(kind, dtype)
    work = flops.sum_parts(program.task.work)
    mfu = flops.compute_mfu(work, examples / seconds, peak, program.mesh.size) if peak else None
    return common.make_row(
        "train",
        "train step",
        config=values.config,
        batch=examples,
        device=common.name_devices(),
        dtype=dtype,
        seconds=seconds,
        compile_seconds=compile_seconds,
        peak_memory_bytes=memory.peak_bytes(),
        seconds_per_step=seconds,
        tokens_per_s=examples * program.task.example_codes / seconds,
        mfu=mfu,
        model_flops=int(work * examples),
        bound="flops",
        bound_seconds=work * examples / peak / program.mesh.size if peak else None,
        attention=values.attention or None,
        step_memory_bytes=common.count_program_bytes(compiled),
    )


def _compile_elsewhere(values: flags.FlagValues, topology: "Topology") -> dict[str, Any]:
    from jukejax.benches import training_step
    from jukejax.benches.aot import step, topologies
    from jukejax.training import flops

    devices = topologies.describe_devices(topology)
    program, dtype = build_bench_program(values, devices, topology.slices)
    compiled, compile_seconds = training_step.compile_step(program)
    example_flops = flops.sum_parts(program.task.work)
    report = step.inspect_step(
        program, compiled, topology=topology, dtype=dtype, example_flops=example_flops
    )
    examples = program.recipe.batch_size
    if not values.json:
        shape = " x ".join(f"{axis} {size}" for axis, size in report.mesh.items())
        print(f"{values.config} on {topology} ({shape}), batch {examples}, {dtype}")
        print(*step.format_report(report), sep="\n")
        target = format_count(topology.size, "device")
        print(f"compiled here in {compile_seconds:.0f} s for {target}", flush=True)
    return common.make_row(
        "train",
        "compiled only",
        config=values.config,
        batch=examples,
        device=str(topology),
        dtype=dtype,
        compile_seconds=compile_seconds,
        peak_memory_bytes=sum(report.memory.values()),
        seconds_per_step=None,
        tokens_per_s=None,
        mfu=None,
        **(dataclasses.asdict(report) if values.json else {}),
    )
