"""Upper codes line up with the codes below them; labels and timing as worked out by hand."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.conditioners import CodeConditioner, CodeConditionerConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.labels import LabelConditioner, compute_timing_bins

LABELS = LabelConfig(
    num_artists=3,
    num_genres=4,
    max_genres=2,
    timing_bins=16,
    min_duration=2.0,
    max_duration=60.0,
    sample_rate=1000,
)


def random_params(module, *inputs):
    rng = np.random.default_rng(0)
    shapes = nn.meta.unbox(jax.eval_shape(module.init, jax.random.key(0), *inputs))["params"]
    return jax.device_put(
        jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    )


def timing_bins(labels, seq_len):
    """Computes the bins of LABELS in one program."""
    compute = jax.jit(compute_timing_bins, static_argnums=(0, 2))
    return jax.device_get(compute(LABELS, np.array(labels, np.int32), seq_len))


def test_an_upper_code_speaks_to_the_codes_below_it_and_their_neighbors():
    """Ratio 4: changing upper code 6 of 12 moves a stretch around codes 24 to 27, and no more."""
    config = CodeConditionerConfig(vocab_size=5, downs=2, stride=2, width=4, depth=1)
    assert config.ratio == 4
    module = CodeConditioner(config, 6)
    codes = np.ones((1, 12), np.int32)
    params = random_params(module, codes)
    apply = jax.jit(lambda codes: module.apply({"params": params}, codes))
    other = codes.copy()
    other[0, 6] = 2
    moved = np.flatnonzero(np.abs(apply(codes) - apply(other)).sum(axis=(0, 2)) > 1e-6)
    assert {24, 25, 26, 27} <= set(moved.tolist())
    first, last = moved[0], moved[-1]
    assert 24 - first == last - 27, "the stretch is not centered on its code"
    assert moved.size == last - first + 1 < 36


def test_extra_conditions_are_added_to_the_embedded_codes():
    """One more row of the table, added to code 0, is code 1."""
    config = CodeConditionerConfig(vocab_size=2, downs=1, stride=2, width=4, depth=1)
    module = CodeConditioner(config, 6)
    zeros, ones = np.zeros((1, 5), np.int32), np.ones((1, 5), np.int32)
    params = random_params(module, zeros)
    table = np.asarray(params["code_embedding"])
    extra = np.broadcast_to(table[1] - table[0], (1, 5, 6))
    apply = jax.jit(lambda codes, extra: module.apply({"params": params}, codes, extra))
    np.testing.assert_allclose(apply(zeros, extra), apply(ones, 0 * extra), atol=1e-5)


def test_timing_bins_follow_their_definition():
    """Against a loop in float64; windows inside, at the start, and past the end of their track."""
    seq_len = 8
    rows = [(30_000, 0, 4000), (30_000, 26_000, 4000), (59_999, 12_345, 4000), (5000, 3000, 4000)]
    bins = timing_bins(rows, seq_len)
    for row, (total, offset, length) in enumerate(rows):
        low, high = 2.0 * 1000, 60.0 * 1000
        assert int(bins["total"][row, 0]) == int(16 * (total - low) / (high - low))
        for t in range(seq_len):
            at = offset + length * t / seq_len
            assert int(bins["absolute"][row, t]) == int(16 * at / high)
            start, end = offset / total, min((offset + length) / total, 1.0)
            place = start + (end - start) * t / seq_len
            assert int(bins["relative"][row, t]) == int(16 * place)


def test_timing_beyond_the_ranges_takes_the_outermost_bins():
    """NOTE: OpenAI's code stops here."""
    bins = timing_bins([(500, 0, 400), (90_000, 80_000, 4000)], 4)
    np.testing.assert_array_equal(bins["total"], [[0], [15]])
    np.testing.assert_array_equal(bins["absolute"][1], 15)


@pytest.mark.parametrize("timing", [False, True])
def test_labels_are_sums_of_their_embeddings(timing):
    seq_len = 4
    module = LabelConditioner(LABELS, 5, seq_len, timing)
    labels = np.array([[30_000, 8000, 4000, 2, 3, 1], [20_000, 0, 4000, 0, 2, -1]], np.int32)
    params = random_params(module, labels)
    start, position = jax.jit(module.apply)({"params": params}, labels)
    artist, genre = np.asarray(params["artist"]), np.asarray(params["genre"])
    np.testing.assert_allclose(start[0], artist[2] + genre[3] + genre[1], atol=1e-6)
    np.testing.assert_allclose(start[1], artist[0] + genre[2], atol=1e-6)  # -1 adds nothing
    if not timing:
        assert position is None
        return
    bins = timing_bins(labels, seq_len)
    expected = sum(np.asarray(params[name])[np.asarray(index)] for name, index in bins.items())
    np.testing.assert_allclose(position, expected, atol=1e-6)


def test_label_vectors_of_another_width_are_refused():
    module = LabelConditioner(LABELS, 5, 4, timing=False)
    with pytest.raises(ValueError, match=r"5 entries, expected 6 \(labels.max_genres is 2\)"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 5), jnp.int32))


def test_a_reference_speaks_to_the_codes_near_it_and_starts_silent():
    """Ratio 4: in each row the upper code is followed by the reference of its four codes."""
    config = CodeConditionerConfig(vocab_size=5, downs=2, stride=2, width=4, depth=1)
    with_reference = dataclasses.replace(config, reference=True)
    assert with_reference.find_shape(80) == (20, 5)
    plain, module = CodeConditioner(config, 6), CodeConditioner(with_reference, 6)
    codes = np.random.default_rng(0).integers(0, 5, (1, 20, 5)).astype(np.int32)
    params = random_params(module, codes)
    other = codes.copy()
    other[0, 10, 1 + 2] = (codes[0, 10, 1 + 2] + 1) % 5  # of code 42
    apply = jax.jit(lambda params, codes: module.apply({"params": params}, codes))
    change = np.abs(apply(params, codes) - apply(params, other)).sum(axis=(0, 2))
    moved = np.flatnonzero(change > 1e-6)
    assert {41, 42, 43} <= set(moved.tolist())
    assert 42 - moved[0] == moved[-1] - 42 == 8
    initial = nn.meta.unbox(jax.jit(module.init)(jax.random.key(0), codes))["params"]
    rest = {name: tree for name, tree in initial.items() if name != "reference"}
    silent = jax.jit(lambda codes: plain.apply({"params": rest}, codes))(codes[..., 0])
    np.testing.assert_array_equal(apply(initial, codes), silent)
