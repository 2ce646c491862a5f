"""The needs of a run, worked out by hand for small shapes, and as `train --dry_run` prints them."""

import dataclasses
import functools

import jax
import pytest
from jax.sharding import AbstractMesh, Mesh

from jukejax.common.formatting import format_duration
from jukejax.runtime import devices, sharding
from jukejax.runtime.sharding import MeshConfig
from jukejax.training import dry_run, plan, program
from tests.integration.test_configs import load
from tests.support.command import run

LABELS = 2 * 32 + 3 * 8 * 32  # one artist, one genre, three tables of timing


def tiny(**changes):
    config = load("tiny", "prior")
    with config.unlocked():
        for key, value in changes.items():
            *path, last = key.split("__")
            node = config
            for name in path:
                node = node[name]
            node[last] = value
    return config


@pytest.fixture(scope="module")
def made():
    return plan.make_plan(tiny(mesh__data=2))


def test_parameters_are_counted_by_part(made):
    assert made.parameters["autoregressive/code_embedding"] == 2048 * 32
    assert made.parameters["autoregressive/position_embedding"] == 128 * 32
    assert made.parameters["label_conditioner"] == LABELS
    layer = 32 * 24 + 24 + 8 * 32 + 32 + 2 * (32 * 32 + 32) + 4 * 32
    assert made.parameters["autoregressive/transformer"] == 3 * layer


def test_memory_of_each_part_follows_from_the_parameters(made):
    size = 4 * sum(made.parameters.values())
    assert made.memory["params"] == made.memory["averaged params"] == size
    assert made.memory["gradients"] == size
    assert size * 2 <= made.memory["optimizer"] <= size * 2 + 64  # and a few counters
    label = 5  # entries of a label vector
    assert made.memory["batch"] == 2 * 4 * (128 + label + 1)  # one window on each device, twice


def test_half_precision_and_accumulation_have_their_own_lines():
    made = plan.make_plan(tiny(dtype="bfloat16", mesh__data=2, data__batch_size=8, accumulate=2))
    size = 4 * sum(made.parameters.values())
    assert made.memory["params in bfloat16"] == size // 2
    assert made.memory["gradients"] == 2 * size
    assert made.part_size == 2


def test_recomputed_layers_are_copied_one_at_a_time():
    """Weights and gradients of one of six layers, gathered from both devices."""
    stack = {"model__transformer__num_layers": 6, "model__transformer__remat": "block"}
    made = plan.make_plan(tiny(dtype="bfloat16", mesh={"data": 1, "fsdp": 2}, **stack))
    assert "params in bfloat16" not in made.memory
    size = 2 * sum(made.parameters.values())
    assert made.memory["layers at a time"] == pytest.approx(2 * size / 6, rel=0.02)


def test_sharded_parameters_take_their_share_of_each_device(made):
    sharded = plan.make_plan(tiny(mesh={"data": 1, "fsdp": 2}))
    assert sharded.memory["params"] == pytest.approx(made.memory["params"] / 2, rel=0.02)
    assert sharded.devices == made.devices == 2


def test_work_is_that_of_the_whole_batch(made):
    double = plan.make_plan(tiny(data__batch_size=4))
    assert double.work == {name: 2 * amount for name, amount in made.work.items()}
    assert made.tokens == 2 * 128
    assert made.step_flops == sum(made.work.values())
    assert made.seconds_per_step(1e9, share=0.5) == pytest.approx(made.step_flops / 1e9)


@functools.cache
def kept(layers, remat):
    config = tiny(model__transformer__num_layers=layers, model__transformer__remat=remat)
    task = program.make_task(config, with_data=False)
    mesh = sharding.make_mesh(MeshConfig(), jax.devices()[:1])
    return plan.count_residual_bytes(
        task, program.build_program(task, program.make_recipe(config), mesh).target
    )


STREAM = 128 * 32 * 4  # bytes of the residual stream of an example


def test_block_keeps_the_input_of_each_layer_and_full_that_of_each_cycle():
    assert kept(9, "block") - kept(6, "block") == 3 * STREAM
    assert kept(9, "full") - kept(6, "full") == STREAM


def test_the_less_is_kept_the_smaller_is_the_estimate():
    sizes = [kept(6, remat) for remat in ("none", "dots", "block", "full")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_recomputation_needs_one_layer_at_a_time_besides_what_is_kept():
    everything, some = kept(6, "none"), kept(6, "block")
    made = plan.make_plan(
        tiny(model__transformer__num_layers=6, model__transformer__remat="block", mesh__data=2)
    )
    assert made.memory["activations"] == int(some + (everything - some) / 6)


def test_a_mesh_that_is_not_here_is_planned_by_its_sizes():
    here = len(jax.devices())
    assert isinstance(plan.plan_mesh(MeshConfig(data=-1)), Mesh)
    pod = plan.plan_mesh(MeshConfig(data=-1, fsdp=3 * here, tensor=4, slices=2))
    assert isinstance(pod, AbstractMesh)
    assert dict(pod.shape) == {"data": 2, "fsdp": 3 * here, "tensor": 4}
    absent = tiny(mesh={"data": -1, "fsdp": 3 * here}, data__batch_size=3 * here)
    made = plan.make_plan(absent)
    assert (made.devices, made.kind, made.open_axis) == (3 * here, "", "data")
    with pytest.raises(ValueError, match=f"needs the mesh of {3 * here} devices here"):
        list(dry_run.plan_run(absent, "compile"))


def test_a_batch_that_the_mesh_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"data.batch_size 2 must be a multiple of 4"):
        plan.make_plan(tiny(mesh={"data": 1, "fsdp": 4}))


def test_lines_say_what_the_time_is_judged_by(made):
    given = "\n".join(dry_run.format_plan(made, peak_flops=1e12))
    assert "config.peak_flops at 10 to 40 % MFU" in given
    speeds = [dry_run.format_figure(3600 / made.seconds_per_step(1e12, x)) for x in (0.1, 0.4)]
    assert f"{speeds[0]} to {speeds[1]}" in given
    absent = "\n".join(dry_run.format_plan(made))
    assert "steps an hour" not in absent
    assert "V100" in absent
    assert "no data.folder given" in absent
    here = plan.make_plan(tiny(mesh={"data": -1}, data__batch_size=len(jax.devices())))
    assert "GFLOP/s in a float32 product, measured now" in "\n".join(dry_run.format_plan(here))
    assert dry_run.format_range([2 * 86_400, 86_400 * 5], format_duration) == "2.0 to 5.0 days"
    assert dry_run.format_range([7200, 86_400 * 5], format_duration) == "2 h 00 min to 5.0 days"


def test_the_estimate_contains_the_published_house_run(made):
    """90,000 steps of its 3.06e13 FLOPs in 4 days on one V100."""
    published = dataclasses.replace(
        made, mesh={"data": 1}, work={"layers": 3.06e13}, steps=90_000, dtype="float16"
    )
    peak = devices.find_peak_flops("V100-SXM2-32GB", "float16")
    shares = devices.find_utilization("Tesla V100-SXM2-32GB")
    fast, slow = (90_000 * published.seconds_per_step(peak, x) / 86_400 for x in reversed(shares))
    assert fast < 4.0 < slow < 5.0
    line = next(x for x in dry_run.format_plan(published, None) if "V100" in x)
    assert "30 h 36 min to 4.2 days" in line
    assert "6 to 20 % MFU" in line


@pytest.mark.slow
def test_a_large_prior_has_a_plan():
    config = load("openai_small", "small_prior")
    config.mesh = {"data": 2}
    made = plan.make_plan(config)
    assert sum(made.parameters.values()) == 161_862_656
    assert made.memory["params"] == 4 * 161_862_656


def test_a_vqvae_has_a_plan():
    config = load("tiny", "vqvae")
    config.model.update(downs=(1,), strides=(2,), multipliers=(1,))
    vqvae = plan.make_plan(config)
    assert vqvae.remat == ""
    assert vqvae.tokens == 2 * 2048
    assert vqvae.part_size == 2
    assert vqvae.memory["codebooks"] == 4 * (2 * 32 * 8 + 32) + 1


@pytest.mark.slow
def test_the_command_prints_a_plan_and_measures_without_data_or_workdir():
    said = run("train", "--config=configs/tiny.py:prior", "--dry_run").stdout
    assert "parameters" in said
    assert "time of all steps" in said
    said = run("train", "--config=configs/tiny.py:prior", "--dry_run=measure").stdout
    assert "measured: the best of 3 steps on random data" in said
    said = run("train", "--config=configs/tiny.py:prior", "--dry_run=compile").stdout
    assert "the compiler's figure" in said
    wrong = run("train", "--config=configs/tiny.py:prior", "--dry_run=x", code=2).stderr
    assert "compile or measure" in wrong
