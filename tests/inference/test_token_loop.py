"""The token loop with fake models, for which the right answer is computed by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.token_loop import (
    NO_FILTER,
    LogitsFilter,
    TrackNoise,
    gumbel_noise,
    sample_tokens,
    select_previous,
)

VOCAB, SEQ_LEN, BATCH = 7, 10, 3


def predict_next_code(cache, previous, position):
    """Predicts the previous code plus one; the cache counts the calls and has the last position."""
    logits = 50.0 * jax.nn.one_hot((previous + 1) % VOCAB, VOCAB)
    return logits, {"calls": cache["calls"] + 1, "position": position}


def predict_uniform(cache, previous, position):
    """Predicts all codes with the same probability."""
    return jnp.zeros((previous.shape[0], VOCAB)), cache


@functools.partial(jax.jit, static_argnums=(0, 5))
def fill_codes(
    step_fn, codes, start, stop, temperature, logits_filter=NO_FILTER, offset=0, keys=None
):
    if keys is None:
        keys = jax.random.split(jax.random.key(0), codes.shape[0])
    cache = {"calls": jnp.int32(0), "position": jnp.int32(-1)}
    return sample_tokens(
        step_fn,
        cache,
        codes,
        start=start,
        stop=stop,
        noise=TrackNoise(keys, offset),
        temperature=temperature,
        logits_filter=logits_filter,
    )


def make_prompt(start):
    """Returns prompts, of which item i's is code i; the slots behind it hold garbage."""
    codes = np.full((BATCH, SEQ_LEN), 99, np.int32)
    codes[:, :start] = np.arange(BATCH)[:, None]
    return codes


def test_loop_counts_up_from_the_prompt():
    for temperature in (0.0, 1.0):
        state = fill_codes(predict_next_code, make_prompt(3), 3, SEQ_LEN, temperature)
        for item in range(BATCH):
            expected = [item] * 3 + [(item + 1 + i) % VOCAB for i in range(SEQ_LEN - 3)]
            np.testing.assert_array_equal(state.codes[item], expected)


def test_model_is_called_exactly_once_a_code():
    state = fill_codes(predict_next_code, make_prompt(3), 3, 8, 0.0)
    assert int(state.cache["calls"]) == 5
    assert int(state.cache["position"]) == 7
    assert int(state.position) == 8
    np.testing.assert_array_equal(state.codes[:, 8:], 99)


def test_earlier_codes_are_selected_at_their_distances():
    codes = jnp.arange(20).reshape(2, 10)
    assert select_previous(codes, jnp.int32(6), ()).tolist() == [5, 15]
    assert select_previous(codes, jnp.int32(6), (4, 6)).tolist() == [[5, 2, 0], [15, 12, 10]]
    assert select_previous(codes, jnp.int32(2), (4, 6)).tolist() == [[1, 0, 0], [11, 10, 10]]


def test_empty_range_changes_nothing():
    state = fill_codes(predict_next_code, make_prompt(6), 6, 6, 1.0)
    np.testing.assert_array_equal(state.codes, make_prompt(6))
    assert int(state.cache["calls"]) == 0


def test_noise_depends_on_the_track_position_not_on_the_window():
    """Track positions 4 to 9, sampled in a window at 0 and in one at 4."""
    keys = jax.random.split(jax.random.key(3), BATCH)
    early = fill_codes(predict_uniform, make_prompt(0), 0, SEQ_LEN, 1.0, NO_FILTER, 0, keys).codes
    late = fill_codes(predict_uniform, make_prompt(0), 0, SEQ_LEN, 1.0, NO_FILTER, 4, keys).codes
    np.testing.assert_array_equal(early[:, 4:], late[:, :6])
    assert (np.asarray(early[:, :6]) != np.asarray(late[:, :6])).any()


def test_item_is_the_same_alone_and_in_a_batch():
    keys = jax.random.split(jax.random.key(3), BATCH)
    together = fill_codes(
        predict_uniform, make_prompt(0), 0, SEQ_LEN, 1.0, NO_FILTER, 0, keys
    ).codes
    assert (np.asarray(together[0]) != np.asarray(together[1])).any()
    for item in range(BATCH):
        one = slice(item, item + 1)
        alone = fill_codes(
            predict_uniform, make_prompt(0)[one], 0, SEQ_LEN, 1.0, NO_FILTER, 0, keys[one]
        ).codes
        np.testing.assert_array_equal(alone[0], together[item])


def test_top_k_of_one_is_greedy():
    greedy = fill_codes(predict_next_code, make_prompt(2), 2, SEQ_LEN, 0.0).codes
    np.testing.assert_array_equal(
        fill_codes(predict_next_code, make_prompt(2), 2, SEQ_LEN, 5.0, LogitsFilter(top_k=1)).codes,
        greedy,
    )


def test_every_slot_may_have_a_temperature_of_its_own():
    def predict_weakly(cache, previous, position):
        return jax.nn.one_hot((previous + 1) % VOCAB, VOCAB), cache

    temperature = np.full((64, SEQ_LEN), 100.0, np.float32)
    temperature[:, 5] = 0.0
    codes = fill_codes(predict_weakly, np.zeros((64, SEQ_LEN), np.int32), 1, SEQ_LEN, temperature)
    steps = np.diff(codes.codes, axis=1) % VOCAB  # from slot i to i + 1
    assert (steps[:, 4] == 1).all()
    assert np.delete(steps == 1, 4, axis=1).mean() < 2 / VOCAB


def test_temperature_and_prompt_length_need_no_new_program():
    before = fill_codes._cache_size()
    for start, stop, temperature in ((1, 5, 0.3), (2, 9, 0.9), (0, 10, 1.3)):
        fill_codes(
            predict_next_code,
            make_prompt(2),
            np.int32(start),
            np.int32(stop),
            np.float32(temperature),
        )
    assert fill_codes._cache_size() - before <= 1


def test_gumbel_noise_has_its_mean_and_variance():
    keys = jax.random.split(jax.random.key(0), 4)
    noise = jax.jit(gumbel_noise, static_argnums=2)(keys, jnp.arange(5, 7), 20_000)
    assert noise.shape == (2, 4, 20_000)
    np.testing.assert_allclose(noise.mean(), 0.5772, atol=0.02)
    np.testing.assert_allclose(noise.var(), np.pi**2 / 6, rtol=0.03)
