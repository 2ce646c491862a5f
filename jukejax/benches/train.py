"""One real training step: how long it takes here, or what it would need on devices elsewhere.

python -m jukejax.bench train --config=tiny --batch=4
python -m jukejax.bench train --config=configs/house_prior.py --dtype=bfloat16 --json
python -m jukejax.bench train --config=small --attention=dense
python -m jukejax.bench train --aot=v5e:16x16 --config=configs/pod_prior_5b.py
python -m jukejax.bench train --aot=v100:8 --config=configs/house_prior.py --batch=32

The shapes tiny, small, train_small, small_prior and upsampler are those of Hugging Face's port in
the reference bench: AdamW, clipping, no dropout, random codes, conditions given as zeros. A config
is trained as it says, on random data. With --aot nothing is run: the step is compiled for described
devices (launch/aot_check.sh fetches the compilers), and what it holds and sends is printed.
"""

import dataclasses
import functools
from collections.abc import Iterator

from absl import flags

from jukejax.benches import common
from jukejax.runtime import memory, platform_flags

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
        "sparse: pattern 2 (kinds 1, 2, 3); dense: every layer sees all; default: the config's.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "backend", "", "How layers attend (ops/attention/backends.py).", flag_values=values
    )
    flags.DEFINE_integer(
        "accumulate", 0, "Parts of a batch; 0: the config's.", 0, flag_values=values
    )
    flags.DEFINE_string(
        "mesh", "", "Devices an axis, as data:4,fsdp:64; default: the config's.", flag_values=values
    )
    flags.DEFINE_integer("repeat", 3, "Timed steps; the fastest counts.", 1, flag_values=values)
    flags.DEFINE_float(
        "peak_flops",
        0.0,
        "FLOP/s of one device, for the MFU on devices that are not known.",
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
        "How hard the compiler tries, with --aot.",
        flag_values=values,
    )


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """The row of one step."""
    if values.aot:
        from jukejax.benches.aot import topologies

        topology = topologies.parse(values.aot, values.slices)
        topologies.prepare(topology, values.effort)
        with topologies.quiet():
            import jax  # noqa: F401
        yield described(values, topology)
    else:
        yield measured(values)


def plan(values: flags.FlagValues, devices: list | None, slices: int = 1):
    """(program, compute type) of what the flags name, on the devices given or those here."""
    from jukejax.benches import shapes
    from jukejax.runtime import sharding
    from jukejax.training import program

    if values.config in shapes.TRANSFORMERS:
        config = shapes.transformer_config(values.config)
    else:
        config = shapes.load_config(values.config)
    if devices is None:
        platform_flags.keep_memory()
        platform_flags.set_defaults(*platform_flags.shape(config))
    if values.batch:
        config.data.batch_size = values.batch
    if values.dtype:
        config.dtype = values.dtype
    if values.accumulate:
        config.accumulate = values.accumulate
    if values.mesh:
        config.mesh = shapes.parse_mesh(values.mesh)
    if slices > 1:
        config.mesh.slices = slices
    if values.remat:
        if config.task != "prior":
            raise ValueError("--remat is for priors; a VQ-VAE has model.remat=true or false")
        config.model.transformer.remat = values.remat
    if values.attention or values.backend:
        if config.task != "prior":
            raise ValueError("--attention and --backend are for priors; a VQ-VAE does not attend")
        stack = config.model.transformer
        if values.attention:
            stack.attn_order = ATTENTION[values.attention]
        if values.backend:
            stack.attention = values.backend
    if values.config in shapes.TRANSFORMERS:
        task = shapes.TransformerTask(config)
    else:
        task = program.make_task(config, with_data=False)
    mesh = sharding.make_mesh(program.mesh_config(config), devices)
    return program.build_program(task, program.make_recipe(config), mesh), config.dtype


def measured(values: flags.FlagValues) -> dict:
    """A step on this machine."""
    from jukejax.benches import shapes
    from jukejax.benches.aot import step as aot
    from jukejax.runtime import devices
    from jukejax.training import flops

    built, dtype = plan(values, None)
    compiled, compile_seconds = aot.compile_step(built)
    examples = built.recipe.batch_size
    seconds = shapes.step_seconds(built, compiled, values.repeat)
    kind = built.mesh.devices.flat[0].device_kind
    peak = values.peak_flops or devices.peak_flops(kind, dtype)
    work = flops.total(built.task.work)
    mfu = flops.mfu(work, examples / seconds, peak, built.mesh.size) if peak else None
    return common.row(
        "train",
        "train step",
        config=values.config,
        batch=examples,
        device=common.device(),
        dtype=dtype,
        seconds=seconds,
        compile_seconds=compile_seconds,
        peak_memory_bytes=memory.peak_bytes(),
        seconds_per_step=seconds,
        tokens_per_s=examples * built.task.example_codes / seconds,
        mfu=mfu,
        model_flops=int(work * examples),
        attention=values.attention or None,
        step_memory_bytes=aot.bytes_needed(compiled),
    )


def described(values: flags.FlagValues, topology) -> dict:
    """A step compiled for devices that are not here."""
    from jukejax.benches.aot import step as aot
    from jukejax.benches.aot import topologies
    from jukejax.training import flops

    built, dtype = plan(values, topologies.devices(topology), topology.slices)
    compiled, seconds = aot.compile_step(built)
    report = aot.inspect(
        built,
        compiled,
        topology=topology,
        dtype=dtype,
        example_flops=flops.total(built.task.work),
        compile_seconds=seconds,
    )
    examples = built.recipe.batch_size
    tokens = examples * built.task.example_codes
    if not values.json:
        shape = " x ".join(f"{axis} {size}" for axis, size in built.mesh.shape.items())
        print(f"{values.config} on {topology} ({shape}), batch {examples}, {dtype}")
        print(*aot.lines(report, tokens=tokens, devices=topology.size), sep="\n", flush=True)
    row = functools.partial(
        common.row,
        "train",
        "compiled only",
        config=values.config,
        batch=examples,
        device=str(topology),
        dtype=dtype,
        compile_seconds=report.compile_seconds,
        peak_memory_bytes=report.memory.total,
        seconds_per_step=None,
        tokens_per_s=None,
        mfu=None,
    )
    return row(**details(report, built.mesh.shape, tokens)) if values.json else row()


def details(report, mesh, tokens: int) -> dict:
    """A report's figures as JSON takes them; times and MFU are a roofline's, not measured."""
    from jukejax.benches.aot import step as aot

    line = report.roofline
    estimate = None
    if line is not None:
        estimate = dataclasses.asdict(line) | {
            "seconds_overlapped": line.overlapped,
            "seconds_in_turn": line.in_turn,
            "tokens_per_s_at_most": tokens / line.overlapped,
            "mfu_at_most": report.mfu(line.overlapped),
            "mfu_in_turn": report.mfu(line.in_turn),
        }
    return {
        "mesh": dict(mesh),
        "memory": dataclasses.asdict(report.memory),
        "capacity_bytes": report.capacity,
        "collectives": [dataclasses.asdict(row) for row in aot.by_kind(report.collectives)],
        "flops": report.flops,
        "model_flops": report.model_flops,
        "traffic_bytes": report.traffic,
        "unknown_loops": report.unknown_loops,
        "roofline": estimate,
    }
