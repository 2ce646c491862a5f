"""Memory estimates of batches, against the memory of arrays and compiled programs."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import budget
from jukejax.inference.conditioning import PriorWeights, prepare_weights
from jukejax.inference.token_loop import NO_FILTER
from jukejax.inference.window_program import WindowInputs, sample_windows
from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer import empty_caches
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.part_configs import find_prior_shapes
from tests.support import small_bundle

# OpenAI's upsampler (design, section 4): 1920 wide, 72 layers, one head of 480, 128 rows of 64.
RELEASED = PriorConfig(
    level=0,
    codebook_size=2048,
    hop_length=8,
    transformer=TransformerConfig(1920, 72, 1, 8192, 128, attn_order=2, attn_ratio=0.25),
    upper=CodeConditionerConfig(2048, downs=2, stride=2),
)
SMALL = PriorConfig(
    level=0,
    codebook_size=256,
    hop_length=8,
    transformer=TransformerConfig(192, 3, 4, 1024, 32, attn_order=2),
    upper=CodeConditionerConfig(256, downs=2, stride=2, width=48, depth=4),
)


def test_released_upsampler_has_far_smaller_caches_than_dense_attention():
    """383 MB of kind 2 and 6 MB of the others, of 1.13 GB (design, section 4); at most 40 %."""
    compact = budget.count_cache_bytes(RELEASED, jnp.bfloat16)
    dense = 2 * 72 * 8192 * 480 * 2
    assert compact / dense < 0.4
    assert compact == pytest.approx(383e6 + 9e6, rel=0.02)


@pytest.mark.parametrize("name", ["level_0", "level_2"])
@pytest.mark.parametrize("lyrics", ["none", "single", "separate"])
def test_cache_bytes_are_those_of_the_caches(lyrics, name):
    config = small_bundle.configs(lyrics)[name]
    stack = config.autoregressive.transformer
    caches = jax.eval_shape(lambda: empty_caches(stack, 1, jnp.float32))
    held = sum(leaf.size * 4 for leaf in jax.tree.leaves(caches))
    assert budget.count_cache_bytes(config, jnp.float32) == held


def shapes_of_a_batch(config, rows):
    weights = jax.eval_shape(
        lambda: prepare_weights(
            config,
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), find_prior_shapes(config)),
            jnp.float32,
        )
    )
    number = jax.ShapeDtypeStruct((), jnp.int32)
    inputs = WindowInputs(
        codes=jax.ShapeDtypeStruct((rows, config.seq_len), jnp.int32),
        upper_codes=jax.ShapeDtypeStruct((rows, config.seq_len // 4), jnp.int32),
        labels=None,
        start=number,
        stop=number,
        offset=jax.ShapeDtypeStruct((rows,), jnp.int32),
        keys=jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows)),
        temperature=jax.ShapeDtypeStruct((), jnp.float32),
    )
    return PriorWeights(*weights), inputs


@pytest.mark.parametrize("fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_batch_needs_the_estimated_memory(fresh):
    """Between a third and all of it: the temporary buffers that XLA plans on a CPU."""
    rows, chunk = 8, 2
    weights, inputs = shapes_of_a_batch(SMALL, rows)
    lowered = sample_windows.lower(SMALL, NO_FILTER, weights, inputs, chunk=chunk, fresh=fresh)
    analysis = lowered.compile().memory_analysis()
    held = budget.count_row_bytes(SMALL, jnp.float32)
    estimate = budget.SLACK * (rows * held + chunk * budget.count_pass_bytes(SMALL, jnp.float32))
    assert estimate / 3 < analysis.temp_size_in_bytes <= estimate


def test_rows_take_precedence_over_the_chunk_and_both_fit():
    for available, row, whole_pass in ((1000, 10, 100), (1000, 300, 10), (1e9, 7, 13)):
        rows, chunk, _ = budget.divide_memory(available, row, whole_pass)
        assert budget.SLACK * (rows * row + chunk * whole_pass) <= available
        assert budget.SLACK * ((rows + 1) * row + whole_pass) > available
        assert chunk == rows or budget.SLACK * (rows * row + (chunk + 1) * whole_pass) > available


def test_budget_has_at_least_one_row():
    assert budget.divide_memory(10, 100, 100) == (1, 1, 1)
    assert budget.divide_memory(-5, 100, 100) == (1, 1, 1)


class Accelerator:
    platform, device_kind = "gpu", "NVIDIA H200"

    def memory_stats(self):
        return {"bytes_limit": 100e9}


def test_available_memory_is_that_of_the_device_without_the_weights(monkeypatch):
    """Half of 100 GB, of which the weights hold 20: 30 GB for windows of the released upsampler."""
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    weights = {"w": jax.ShapeDtypeStruct((10**10,), jnp.bfloat16)}
    rows, chunk, _ = budget.fit_batch(RELEASED, weights, jnp.bfloat16, 0.5)
    held = budget.count_row_bytes(RELEASED, jnp.bfloat16)
    assert rows * held * budget.SLACK <= 30e9
    assert rows == pytest.approx(30e9 / held / budget.SLACK, abs=2)
    assert 1 <= chunk <= rows


def test_rows_on_a_cpu_are_limited_and_windows_are_passed_one_by_one():
    weights = {"w": np.zeros(3)}
    rows, chunk, at_once = budget.fit_batch(SMALL, weights, jnp.float32, 0.8)
    assert (rows, chunk) == (budget.CPU_ROWS, 1)
    assert at_once == min(os.cpu_count(), budget.CPU_BATCHES)


def test_devices_of_a_cpu_share_its_memory_and_rows(monkeypatch):
    """Each has its own weights; accelerators have a memory of their own."""
    rows = budget.fit_batch(SMALL, {}, jnp.float32, 0.8, num_devices=8).rows
    assert rows == budget.CPU_ROWS / 8
    weights = {"w": jax.ShapeDtypeStruct((10**9,), jnp.float32)}
    held = budget.SLACK * (budget.count_row_bytes(SMALL, jnp.float32) + 1)
    monkeypatch.setattr(budget, "usable_bytes", lambda device: (4e9 + 10 * held) * 8 / 0.8)
    monkeypatch.setattr(budget, "CPU_ROWS", 1000)
    monkeypatch.setattr(budget, "count_pass_bytes", lambda config, dtype: 1)
    assert budget.fit_batch(SMALL, weights, jnp.float32, 0.8, num_devices=8).rows == 10
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    all_rows = [budget.fit_batch(SMALL, weights, jnp.float32, 0.8, count).rows for count in (1, 8)]
    assert all_rows[0] == all_rows[1] > 10


@pytest.mark.parametrize("fraction", [0, -0.5, 1.1])
def test_invalid_memory_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match=f"memory_fraction is {fraction}, must be more than 0"):
        budget.fit_batch(SMALL, {}, jnp.float32, fraction)
