"""The report of a compiled step, for two fake CPU devices, whose programs have the same form."""

import dataclasses
import json
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jukejax.benches import training_step
from jukejax.benches.aot import step, topologies
from jukejax.benches.aot.collectives import Collective
from jukejax.benches.aot.topologies import Topology
from jukejax.runtime import devices, sharding
from jukejax.training import anneal, flops, optim, program, state
from jukejax.training.task import Task
from tests.support.command import run

LAYERS, WIDTH, LENGTH, BATCH, DEVICES = 3, 64, 4, 4, 2
WORK = flops.Work(2.0 * LAYERS * LENGTH * WIDTH**2, 4.0 * LAYERS * LENGTH * WIDTH**2)


class ToyTask(Task):
    """Layers of one product each, scanned; weights sharded along fsdp."""

    name = "toy"
    example_codes = LENGTH
    work: ClassVar = {"layers": WORK}

    def init_params(self, key):
        w = jax.random.normal(key, (LAYERS, WIDTH, WIDTH))
        return {"w": nn.LogicallyPartitioned(w, ("layers", "embed", "norm"))}, {}

    def loss(self, params, extra, batch, key):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), batch["x"], params["w"])
        return jnp.mean(x * x), (extra, {})

    def evaluate(self, params, extra, batch):
        return {}

    def open_batches(self, split, rows=None, limit=None):
        return iter(())

    def batch_shapes(self, examples):
        return {"x": jax.ShapeDtypeStruct((examples, LENGTH, WIDTH), jnp.float32)}


@pytest.fixture(scope="module")
def built():
    recipe = state.Recipe(optim.OptimizerConfig(), BATCH, anneal.ScheduleConfig())
    mesh = sharding.make_mesh(sharding.MeshConfig(data=1, fsdp=DEVICES), jax.devices()[:DEVICES])
    toy_program = program.build_program(ToyTask(), recipe, mesh)
    return toy_program, training_step.compile_step(toy_program)[0]


def inspect(built, monkeypatch, **changed):
    kind = devices.Device("toy", {"float32": 1e9}, bandwidth=1e9, memory=1e9)
    kind = dataclasses.replace(kind, **changed)
    monkeypatch.setattr(devices, "find_device", lambda _: kind)
    return inspect_unknown(built)


def inspect_unknown(built):
    topology = Topology("v5e", (1, 2))
    return step.inspect_step(*built, topology=topology, dtype="float32", example_flops=WORK.total)


def test_memory_by_part_is_that_of_the_shards(built, monkeypatch):
    memory = inspect(built, monkeypatch).memory
    shard = 4 * LAYERS * WIDTH * WIDTH // DEVICES
    assert memory["params"] == memory["ema"] == shard
    assert 2 * shard <= memory["optimizer"] <= 2 * shard + 16  # two averages and their counters
    assert memory["batch"] == 4 * BATCH * LENGTH * WIDTH // DEVICES
    assert memory["extra"] == 0
    assert memory["padding"] < 256
    assert set(memory) == set(step.MEMORY_PARTS)


def test_work_is_the_devices_share_of_the_models(built, monkeypatch):
    """Forward and two gradients for each layer, without that of the first layer's input."""
    report = inspect(built, monkeypatch)
    assert report.model_flops == WORK.total * BATCH / DEVICES
    assert 8 / 9 <= report.flops / report.model_flops <= 1.0
    assert report.unknown_loops == 0


def test_traffic_counts_every_round_of_a_loop(built, monkeypatch):
    """At least the state, read and written, and each layer's input and output."""
    report = inspect(built, monkeypatch)
    arguments = sum(report.memory[part] for part in ("params", "optimizer", "ema"))
    activations = 4 * BATCH * LENGTH * WIDTH * LAYERS // DEVICES
    assert report.traffic_bytes >= 2 * arguments + 2 * activations


def test_products_of_convolutions_and_scans_are_counted():
    def f(x, kernel):
        def layer(x, _):
            return jax.lax.conv_general_dilated(x, kernel, (1,), [(1, 1)]), None

        return jax.lax.scan(layer, x, None, length=5)[0]

    x, kernel = jnp.zeros((2, 8, 16)), jnp.zeros((8, 8, 3))  # [batch, features, time]
    assert step.count_flops(jax.make_jaxpr(f)(x, kernel).jaxpr) == 5 * 2 * (2 * 8 * 16) * 8 * 3


def test_gathered_weights_are_messages_of_every_layer(built, monkeypatch):
    rows = inspect(built, monkeypatch).collectives
    assert rows == sorted(rows, key=lambda row: -row.bytes)
    gathers = sum(row.count for row in rows if row.kind == "all-gather" and row.group == DEVICES)
    sums = sum(row.bytes for row in rows if row.kind in ("all-reduce", "reduce-scatter"))
    assert gathers >= 2  # forward and backward: in the loop, or once for the whole stack
    assert sums >= 4 * LAYERS * WIDTH * WIDTH // DEVICES  # at least each shard of the gradient


def test_roofline_divides_each_cost_by_its_peak(built, monkeypatch):
    report = inspect(built, monkeypatch, bandwidth=5e8)
    roofline = report.roofline
    assert roofline.compute == report.flops / 1e9
    assert roofline.memory == report.traffic_bytes / 5e8
    sent = sum(message.bytes for message in report.collectives)
    assert roofline.network == pytest.approx(sent / Topology("v5e", (1, 2)).ring)
    assert roofline.between == 0.0
    times = (roofline.compute, roofline.memory, roofline.network)
    assert roofline.seconds_overlapped == max(times)
    assert roofline.seconds_in_turn == pytest.approx(sum(times))
    assert roofline.mfu_at_most == pytest.approx(report.model_flops / 1e9 / max(times))
    assert roofline.mfu_in_turn == pytest.approx(report.model_flops / 1e9 / sum(times))
    assert roofline.tokens_per_s_at_most == BATCH * LENGTH / max(times)


def test_unknown_devices_have_no_roofline(built):
    report = inspect_unknown(built)
    assert report.roofline is None
    assert report.capacity_bytes == 0.0
    assert not any("MFU" in line for line in step.format_report(report))


def test_compilers_without_a_cost_analysis_leave_the_traffic_unknown(built, monkeypatch):
    """As those for GPUs that are not here."""
    monkeypatch.setattr(type(built[1]), "cost_analysis", lambda self: None)
    report = inspect(built, monkeypatch)
    assert report.traffic_bytes is report.roofline.memory is None
    assert report.roofline.seconds_overlapped == report.roofline.compute
    assert "memory not known" in "\n".join(step.format_report(report))


def test_step_larger_than_its_devices_is_refused_with_the_figure(built, monkeypatch):
    total = sum(inspect(built, monkeypatch).memory.values())
    with pytest.raises(ValueError, match=r"does not fit 2 devices \(data 1 x fsdp 2 x tensor 1\)"):
        inspect(built, monkeypatch, memory=total - 1.0)
    assert inspect(built, monkeypatch, memory=float(total)).capacity_bytes == total


@pytest.mark.parametrize(
    ("message", "figure"),
    [
        (
            "Ran out of memory on HBM, in all (121.47G) exceeds (15.75G). More.\n x",
            "Ran out of memory on HBM, in all (121.47G) exceeds (15.75G).",
        ),
        (
            "E1000: permanent error. Ran out of memory in memory space hbm. Used 27.1G of 15.75G "
            "hbm. Exceeded hbm capacity by 11.4G.\n\nTotal hbm usage",
            "Ran out of memory in memory space hbm. Used 27.1G of 15.75G hbm.",
        ),
    ],
)
def test_compilers_refusal_becomes_one_line_with_its_figure(built, message, figure):
    class RefusedProgram:
        mesh = built[0].mesh

        def lower(self):
            raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {message}")

    with pytest.raises(ValueError, match="does not fit 2 devices") as caught:
        training_step.compile_step(RefusedProgram())
    assert f": {figure} Take more devices" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_report_is_json_and_measures_nothing(built, monkeypatch):
    report = inspect(built, monkeypatch)
    fields = json.loads(json.dumps(dataclasses.asdict(report)))
    assert fields["mesh"] == {"data": 1, "fsdp": 2, "tensor": 1}
    assert fields["memory"] == report.memory
    assert fields["roofline"]["seconds_overlapped"] == report.roofline.seconds_overlapped
    assert {row["kind"] for row in fields["collectives"]} == {o.kind for o in report.collectives}
    assert not {"seconds", "seconds_per_step", "tokens_per_s", "mfu"} & set(fields)


@pytest.mark.slow
@pytest.mark.skipif(
    not (topologies.PACKAGES / "tpu").exists(), reason="launch/aot_check.sh fetch gets libtpu"
)
def test_tpu_step_compiles_without_a_tpu():
    flags_ = ("--config=tiny", "--batch=4", "--mesh=fsdp:4", "--json")
    row = json.loads(run("bench", "train", "--aot=v5e:2x2", *flags_).stdout)
    assert row["device"] == "v5e:2x2"
    assert row["capacity_bytes"] == 16e9
    # Forward and two gradients of every product: the count is the model's own.
    assert row["flops"] == pytest.approx(row["model_flops"], rel=0.02)
    assert row["unknown_loops"] == 0
    assert row["memory"]["params"] == pytest.approx(row["memory"]["optimizer"] / 2, rel=0.01)
    assert any(row["kind"] == "all-gather" for row in row["collectives"])


def test_report_names_every_figure(built, monkeypatch):
    report = inspect(built, monkeypatch)
    report = dataclasses.replace(
        report, collectives=[Collective("all-gather", 4, True, 3, 6_000_000)]
    )
    text = "\n".join(step.format_report(report))
    for part in ("parameters", "optimizer", "batch", "temporaries", "MFU"):
        assert part in text
    assert "3        6 MB  all-gather among 4 between slices" in text
