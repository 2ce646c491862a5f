"""What a batch is reckoned to take, against what arrays and compiled programs really do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import budget
from jukejax.inference.generate import PriorWeights, WindowInputs, fill_window, prior_weights
from jukejax.inference.token_loop import Method
from jukejax.models.block import TransformerConfig
from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.prior import PriorConfig
from jukejax.models.transformer import empty_caches
from jukejax.weights.openai.prior import prior_shapes
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
    transformer=TransformerConfig(192, 6, 4, 1024, 32, attn_order=2),
    upper=CodeConditionerConfig(256, downs=2, stride=2, width=48, depth=4),
)


def test_the_released_upsamplers_caches_are_far_smaller_than_dense_ones():
    """383 MB of kind 2 and 6 MB of the others, of 1.13 GB (design, section 4); the bar: 40 %."""
    compact = budget.cache_bytes(RELEASED, jnp.bfloat16)
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
    assert budget.cache_bytes(config, jnp.float32) == held


def shapes_of_a_batch(config, rows):
    weights = jax.eval_shape(
        lambda: prior_weights(
            config,
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), prior_shapes(config)),
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


@pytest.mark.parametrize("fresh", [True, False])
def test_a_compiled_batch_takes_what_was_reckoned(fresh):
    """Never more, and not less than a third of it, of the arrays that XLA plans for on a CPU."""
    rows, chunk = 8, 2
    weights, inputs = shapes_of_a_batch(SMALL, rows)
    lowered = fill_window.lower(SMALL, Method(), weights, inputs, chunk=chunk, fresh=fresh)
    found = lowered.compile().memory_analysis()
    held = budget.row_bytes(SMALL, jnp.float32)
    reckoned = budget.SLACK * (rows * held + chunk * budget.pass_bytes(SMALL, jnp.float32))
    assert reckoned / 3 < found.temp_size_in_bytes <= reckoned


def test_rows_come_before_the_chunk_and_both_fit():
    for room, row, whole in ((1000, 10, 100), (1000, 300, 10), (1e9, 7, 13)):
        rows, chunk = budget.within(room, row, whole)
        assert budget.SLACK * (rows * row + chunk * whole) <= room
        assert budget.SLACK * ((rows + 1) * row + whole) > room
        assert chunk == rows or budget.SLACK * (rows * row + (chunk + 1) * whole) > room


def test_there_is_always_one_row_to_try():
    assert budget.within(10, 100, 100) == (1, 1)
    assert budget.within(-5, 100, 100) == (1, 1)


class Accelerator:
    platform, device_kind = "gpu", "NVIDIA H200"

    def memory_stats(self):
        return {"bytes_limit": 100e9}


def test_memory_is_what_the_device_says_less_the_weights(monkeypatch):
    """Half of 100 GB, of which the weights hold 20: 30 GB for windows of the released upsampler."""
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    weights = {"w": jax.ShapeDtypeStruct((10**10,), jnp.bfloat16)}
    rows, chunk = budget.fitting(RELEASED, weights, jnp.bfloat16, 0.5)
    held = budget.row_bytes(RELEASED, jnp.bfloat16)
    assert rows * held * budget.SLACK <= 30e9
    assert rows == pytest.approx(30e9 / held / budget.SLACK, abs=2)
    assert 1 <= chunk <= rows


def test_a_cpu_is_not_given_more_rows_than_help_it():
    weights = {"w": np.zeros(3)}
    assert budget.fitting(SMALL, weights, jnp.float32, 0.8).rows == budget.CPU_ROWS


@pytest.mark.parametrize("fraction", [0, -0.5, 1.1])
def test_a_share_of_the_memory_that_cannot_be_is_refused(fraction):
    with pytest.raises(ValueError, match=f"memory_fraction is {fraction}, must be more than 0"):
        budget.fitting(SMALL, {}, jnp.float32, fraction)
