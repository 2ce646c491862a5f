"""An upsampler's windows in both orders, in whatever batches: the same codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import generate
from jukejax.inference.generate import Labels, item_keys, prior_weights, sample_level
from jukejax.inference.token_loop import Method
from jukejax.weights.openai.prior import prior_shapes
from tests.support.small_priors import UPSAMPLER, VOCAB


@pytest.fixture(scope="module")
def upsampler():
    """Random weights of some strength, so that what is drawn depends on what was."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape, scale=0.3), jnp.float32),
        prior_shapes(UPSAMPLER),
    )
    return prior_weights(UPSAMPLER, params, jnp.float32)


def make(weights, *, total=40, items=range(2), given=None, temperature=1.0, hop=4, **more):
    """Everything that an upsampler hands back."""
    upper = np.random.default_rng(1).integers(VOCAB, size=(8, total // 2)).astype(np.int32)
    upper = upper[items.start : items.stop]
    return list(
        sample_level(
            UPSAMPLER,
            weights,
            total=total,
            given=np.zeros((len(items), 0), np.int32) if given is None else given,
            upper=upper,
            labels=[Labels(item % 3, (item % 4,), 5000 + item) for item in items],
            keys=item_keys(0, items, 1),
            window_hop=hop,
            temperature=temperature,
            method=Method(),
            **more,
        )
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("total", [4, 8])
def test_side_by_side_one_window_is_what_it_is_in_order(upsampler, total, temperature):
    given = np.array([[1, 2], [3, 4]], np.int32)
    for start in (None, given):
        *_, one = make(upsampler, total=total, given=start, temperature=temperature)
        *_, other = make(
            upsampler, total=total, given=start, temperature=temperature, schedule="parallel"
        )
        np.testing.assert_array_equal(one.codes, other.codes)
        assert temperature == 0 or len(np.unique(one.codes)) > 1


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_one_item_alone_is_what_it_is_among_eight(upsampler, schedule):
    *_, batch = make(upsampler, items=range(8), schedule=schedule)
    assert len({tuple(row) for row in batch.codes.tolist()}) == 8
    for item in range(8):
        *_, alone = make(upsampler, items=range(item, item + 1), schedule=schedule)
        np.testing.assert_array_equal(alone.codes[0], batch.codes[item])


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_the_batches_do_not_matter(upsampler, schedule):
    *_, whole = make(upsampler, items=range(3), schedule=schedule)
    for rows in (1, 2, 5):
        *_, other = make(upsampler, items=range(3), schedule=schedule, max_batch=rows)
        np.testing.assert_array_equal(other.codes, whole.codes)


def test_side_by_side_every_window_is_a_window_drawn_alone(upsampler):
    """A track of one window that lies where the third one does, told what that one is told."""
    drawn = {}
    for step in make(upsampler, items=range(1), schedule="parallel", max_batch=1):
        drawn |= step.parts
    upper = np.random.default_rng(1).integers(VOCAB, size=(8, 20)).astype(np.int32)
    labels = generate.window_labels(UPSAMPLER, [Labels(0, (0,), 5000)], 8)
    inputs = generate.WindowInputs(
        codes=jnp.zeros((1, 8), jnp.int32),
        upper_codes=jnp.asarray(upper[:1, 4:8]),
        labels=jnp.asarray(labels),
        start=jnp.int32(0),
        stop=jnp.int32(8),
        offset=jnp.int32(8),
        keys=item_keys(0, range(1), 1),
        temperature=jnp.float32(1.0),
    )
    filled = generate.fill_window(UPSAMPLER, Method(), upsampler, inputs)
    np.testing.assert_array_equal(filled[0], drawn[0, 2])


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_a_level_goes_on_from_anywhere(upsampler, schedule):
    prompt = np.array([[1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 0]], np.int32)
    steps = make(upsampler, given=prompt, schedule=schedule, max_batch=3)
    for step in steps[:-1]:
        *_, last = make(
            upsampler, given=step.codes, parts=step.parts, schedule=schedule, max_batch=3
        )
        np.testing.assert_array_equal(last.codes, steps[-1].codes)


@pytest.mark.parametrize("fresh", [True, False])
def test_passing_a_few_rows_at_a_time_changes_nothing(upsampler, fresh):
    inputs = generate.WindowInputs(
        codes=jnp.zeros((5, 8), jnp.int32),
        upper_codes=jnp.asarray(np.random.default_rng(1).integers(VOCAB, size=(5, 4))),
        labels=jnp.asarray([[5000 + i, 0, 256, 1, 2, -1] for i in range(5)], jnp.int32),
        start=jnp.int32(0),
        stop=jnp.int32(8),
        offset=jnp.arange(0, 40, 8),
        keys=item_keys(0, range(5), 1),
        temperature=jnp.float32(1.0),
    )
    whole = generate.fill_window(UPSAMPLER, Method(), upsampler, inputs)
    few = generate.fill_window(UPSAMPLER, Method(), upsampler, inputs, chunk=2, fresh=fresh)
    np.testing.assert_array_equal(whole, few)


def test_an_unknown_schedule_is_refused(upsampler):
    with pytest.raises(ValueError, match="schedule is 'both'; known: sequential, parallel"):
        make(upsampler, schedule="both")
