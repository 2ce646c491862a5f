"""A compiled step's report, on eight described devices: fake CPU ones, whose text is alike."""

import dataclasses
import json
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jukejax.benches import train
from jukejax.benches.aot import step as aot
from jukejax.benches.aot import topologies
from jukejax.benches.aot.hlo_costs import Collective
from jukejax.benches.aot.topologies import Topology
from jukejax.runtime import devices, sharding
from jukejax.training import anneal, flops, optim, program, state
from jukejax.training.task import Task
from tests.support.command import run

LAYERS, WIDTH, LENGTH, BATCH = 3, 64, 4, 16
WORK = flops.Work(2.0 * LAYERS * LENGTH * WIDTH**2, 4.0 * LAYERS * LENGTH * WIDTH**2)


class ToyTask(Task):
    """Layers of one product each, scanned; weights sharded along fsdp."""

    name = "toy"
    work: ClassVar = {"layers": WORK}

    def init_params(self, key):
        w = jax.random.normal(key, (LAYERS, WIDTH, WIDTH))
        return {"w": nn.LogicallyPartitioned(w, ("layers", "embed", "norm"))}, {}

    def loss(self, params, extra, batch, key):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), batch["x"], params["w"])
        return jnp.mean(x * x), (extra, {})

    def evaluate(self, params, extra, batch):
        return {}

    def open_batches(self, split, rows=None):
        return iter(())

    def batch_shapes(self, examples):
        return {"x": jax.ShapeDtypeStruct((examples, LENGTH, WIDTH), jnp.float32)}


@pytest.fixture(scope="module")
def built():
    recipe = state.Recipe(optim.OptimizerConfig(), BATCH, anneal.ScheduleConfig())
    mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=4))
    found = program.build_program(ToyTask(), recipe, mesh)
    return found, *aot.compile_step(found)


def inspect(built, monkeypatch, **device):
    kind = devices.Device("toy", {"float32": 1e9}, bandwidth=1e9, memory=1e9)
    kind = dataclasses.replace(kind, **device)
    monkeypatch.setattr(devices, "find", lambda _: kind)
    step, compiled, seconds = built
    return aot.inspect(
        step,
        compiled,
        topology=Topology("v5e", (2, 4)),
        dtype="float32",
        example_flops=WORK.total,
        compile_seconds=seconds,
    )


def test_memory_by_part_is_that_of_the_shards(built, monkeypatch):
    memory = inspect(built, monkeypatch).memory
    shard = 4 * LAYERS * WIDTH * WIDTH // 4
    assert memory.params == memory.ema == shard
    assert 2 * shard <= memory.optimizer <= 2 * shard + 16  # two averages and their counters
    assert memory.batch == 4 * BATCH * LENGTH * WIDTH // 8
    assert memory.extra == 0
    assert memory.padding < 256
    parts = dataclasses.asdict(memory)
    assert memory.total == sum(parts.values())


def test_work_is_the_devices_share_of_the_models(built, monkeypatch):
    """Forward and two gradients for each layer, though nothing wants the first layer's input's."""
    report = inspect(built, monkeypatch)
    assert report.model_flops == WORK.total * BATCH / 8
    assert 8 / 9 <= report.flops / report.model_flops <= 1.0
    assert report.unknown_loops == 0


def test_gathered_weights_are_messages_of_every_layer(built, monkeypatch):
    rows = aot.by_kind(inspect(built, monkeypatch).collectives)
    assert rows == sorted(rows, key=lambda row: -row.bytes)
    gathers = sum(row.count for row in rows if row.kind == "all-gather" and row.group == 4)
    sums = sum(row.bytes for row in rows if row.kind in ("all-reduce", "reduce-scatter"))
    assert gathers >= 2  # forward and backward: in the loop, or once for the whole stack
    assert sums >= 4 * LAYERS * WIDTH * WIDTH // 4  # at least each shard of the gradient


def test_roofline_divides_each_cost_by_its_peak(built, monkeypatch):
    report = inspect(built, monkeypatch, bandwidth=5e8)
    line = report.roofline
    assert line.compute == report.flops / 1e9
    assert line.memory == report.traffic / 5e8
    sent = sum(one.times * one.bytes for one in report.collectives)
    assert line.network == pytest.approx(sent / Topology("v5e", (2, 4)).ring)
    assert line.between == 0.0
    assert line.overlapped == max(line.compute, line.memory, line.network)
    assert line.in_turn == pytest.approx(line.compute + line.memory + line.network)
    assert report.mfu(line.overlapped) == pytest.approx(report.model_flops / 1e9 / line.overlapped)


def test_unknown_devices_have_no_roofline(built, monkeypatch):
    step, compiled, seconds = built
    report = aot.inspect(
        step,
        compiled,
        topology=Topology("v5e", (2, 4)),
        dtype="float32",
        example_flops=WORK.total,
        compile_seconds=seconds,
    )
    assert report.roofline is None
    assert report.capacity == 0.0
    assert not any("MFU" in line for line in aot.lines(report, tokens=1, devices=8))


def test_step_larger_than_its_devices_is_refused_with_the_figure(built, monkeypatch):
    total = inspect(built, monkeypatch).memory.total
    with pytest.raises(ValueError, match=r"does not fit 8 devices \(data 2 x fsdp 4 x tensor 1\)"):
        inspect(built, monkeypatch, memory=total - 1.0)
    assert inspect(built, monkeypatch, memory=float(total)).capacity == total


@pytest.mark.parametrize(
    ("said", "figure"),
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
def test_compilers_refusal_becomes_one_line_with_its_figure(built, said, figure):
    class Refused:
        mesh = built[0].mesh

        def lower(self):
            raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {said}")

    with pytest.raises(ValueError, match="does not fit 8 devices") as caught:
        aot.compile_step(Refused())
    assert f": {figure} Take more devices" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_report_is_json_and_measures_nothing(built, monkeypatch):
    report = inspect(built, monkeypatch)
    found = json.loads(json.dumps(train.details(report, built[0].mesh.shape, tokens=64)))
    assert found["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    assert sum(found["memory"].values()) == report.memory.total
    assert found["roofline"]["seconds_overlapped"] == report.roofline.overlapped
    assert found["roofline"]["tokens_per_s_at_most"] == 64 / report.roofline.overlapped
    assert {row["kind"] for row in found["collectives"]} == {o.kind for o in report.collectives}
    assert not {"seconds", "seconds_per_step", "tokens_per_s", "mfu"} & set(found)


@pytest.mark.slow
@pytest.mark.skipif(
    not (topologies.PACKAGES / "tpu").exists(), reason="launch/aot_check.sh fetch gets libtpu"
)
def test_tpu_step_compiles_without_a_tpu():
    flags_ = ("--config=tiny", "--batch=4", "--mesh=fsdp:4", "--json")
    row = json.loads(run("bench", "train", "--aot=v5e:2x2", *flags_).stdout)
    assert row["device"] == "v5e:2x2"
    assert row["capacity_bytes"] == 16e9
    # Forward and two gradients of every product: the count in the text is the model's own.
    assert row["flops"] == pytest.approx(row["model_flops"], rel=0.02)
    assert row["unknown_loops"] == 0
    assert row["memory"]["params"] == pytest.approx(row["memory"]["optimizer"] / 2, rel=0.01)
    assert any(row["kind"] == "all-gather" for row in row["collectives"])


def test_report_names_every_figure(built, monkeypatch):
    report = inspect(built, monkeypatch)
    report = dataclasses.replace(
        report, collectives=(Collective("all-gather", 3, 2_000_000, 4, between=True),)
    )
    text = "\n".join(aot.lines(report, tokens=100, devices=8))
    for part in ("parameters", "optimizer", "batch", "temporaries", "MFU", "for 8 devices"):
        assert part in text
    assert "3        6 MB  all-gather among 4 between slices" in text
