"""Loading the weights of another model into a new run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.data import corpus, vocabularies
from jukejax.models.prior import Prior
from jukejax.models.prior_config import PriorConfig
from jukejax.models.prior_losses import compute_losses
from jukejax.ops import quantize
from jukejax.training import checkpoint, finetune, program
from jukejax.weights import bundle, loading
from tests.support import small_bundle
from tests.support.pretrained_run import CORPUS, make_config, start_run

OLD = small_bundle.VOCABULARY  # artists unknown, anna, ben; genres unknown, house
GROWN = {
    "artists": ("unknown", "anna", "ben", "aaron", "zoe"),
    "genres": ("unknown", "house", "dub"),
}


def flat(tree) -> dict[str, np.ndarray]:
    return bundle.flatten_weights(jax.tree.map(np.asarray, tree))


@pytest.mark.parametrize("part", ["level_2", "level_1"])
def test_known_names_keep_their_rows_and_new_rows_are_mean_plus_noise(
    prior_bundle, artist_codes, part
):
    config = make_config(prior_bundle, artist_codes, part)
    task, _, state = start_run(config)
    description = task.describe()
    assert description["vocabulary"] == GROWN
    assert description["config"]["labels"]["num_artists"] == 5
    old = flat(loading.load_model(prior_bundle, part)[1]["params"])
    new = flat(state.params)
    assert old.keys() == new.keys()
    tables = {"label_conditioner/artist": 3, "label_conditioner/genre": 2}
    for name, before in old.items():
        known = tables.get(name, len(before))
        np.testing.assert_array_equal(new[name][:known], before[:known], err_msg=name)
        if name in tables:
            off = new[name][known:] - before.mean(axis=0)
            assert 0.0 < np.abs(off).max() < 5 * finetune.NOISE * before.std()
            assert np.unique(new[name], axis=0).shape == new[name].shape
    for averaged, trained in zip(
        jax.tree.leaves(state.ema_params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_array_equal(averaged, trained)
    assert int(state.step) == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))


def test_batches_have_the_ids_of_the_trained_model(prior_bundle, artist_codes):
    task = program.make_task(make_config(prior_bundle, artist_codes))
    names = {track.name: track for track in corpus.open_dataset(artist_codes).tracks("train")}
    ids = dict(Anna=(1, [1, -1]), zoe=(4, [2, 1]), none=(0, [0, -1]))
    seen = set()
    batches = task.open_batches("train", np.arange(2))
    for _ in range(20):
        batch = next(batches)
        for track, label in zip(batch["track"], batch["labels"].tolist(), strict=True):
            name = list(names)[track]
            assert (label[3], label[4:]) == ids[name]
            seen.add(name)
    batches.close()
    assert seen == set(ids)


def test_more_genres_than_the_model_takes_are_refused_at_the_start(prior_bundle, artist_codes):
    config = make_config(prior_bundle, artist_codes)
    config.model.labels.max_genres = 1
    with pytest.raises(ValueError, match=r"1 of 3 train tracks; the first, zoe .*max_genres=2"):
        program.make_task(config)


def test_a_loaded_model_predicts_what_the_trained_one_predicts(prior_bundle, artist_codes):
    """Of codes whose names both know: rows moved, or ids mixed up, would change the bits."""
    task, _, state = start_run(make_config(prior_bundle, artist_codes))
    description, weights = loading.load_model(prior_bundle, "level_2")
    frozen = freeze(PriorConfig, description["config"])
    batch = {
        "codes": np.random.default_rng(1).integers(0, 16, (2, 64)).astype(np.int32),
        "labels": np.array([[99_999, 0, 8192, 1, 1, -1], [99_999, 128, 8192, 0, 0, 1]], np.int32),
    }
    model = Prior(frozen)

    @jax.jit
    def bits(params):
        predictions = model.apply(
            {"params": params},
            batch["codes"],
            labels=batch["labels"],
            method=model.compute_predictions,
        )
        return compute_losses(frozen, predictions, batch["codes"], batch["labels"])[0]

    expected = bits(weights["params"])
    loaded = jax.jit(task.evaluate)(state.params, state.extra, batch)["bits_per_code"]
    assert float(loaded) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("part", ["level_2", "level_1"])
def test_added_tempo_key_and_bar_leave_the_first_loss_unchanged(prior_bundle, artist_codes, part):
    config = make_config(prior_bundle, artist_codes, part)
    before, _, state = start_run(config)
    with config.unlocked():
        config.model.labels.update(small_bundle.GRID_LABELS | {"num_sections": 4})
    task, _, grown = start_run(config)
    tables = flat(grown.params)
    for name in finetune.GRID_TABLES:
        assert not tables[f"label_conditioner/{name}"].any()
    batches = task.open_batches("train", np.arange(2))
    batch = {name: np.asarray(value) for name, value in next(batches).items()}
    batches.close()
    bits = jax.jit(task.evaluate)(grown.params, grown.extra, batch)["bits_per_code"]
    batch["labels"] = batch["labels"][:, :6]  # without tempo, key, bar and section
    expected = jax.jit(before.evaluate)(state.params, state.extra, batch)["bits_per_code"]
    assert float(bits) == float(expected)


@pytest.mark.parametrize("part", ["level_1"])
def test_an_added_reference_leaves_the_first_loss_unchanged(prior_bundle, artist_codes, part):
    config = make_config(prior_bundle, artist_codes, part)
    before, _, state = start_run(config)
    with config.unlocked():
        config.model.upper.reference = True
    task, _, grown = start_run(config)
    reference = flat(grown.params["code_conditioner"]["reference"])
    assert reference["code_embedding"].std() > 0.5
    random = np.random.default_rng(0)
    batch = {
        name: random.integers(0, 2, shape.shape, np.int32)
        for name, shape in task.batch_shapes(2).items()
    }
    bits = jax.jit(task.evaluate)(grown.params, grown.extra, batch)["bits_per_code"]
    batch["upper_codes"] = batch["upper_codes"][..., 0]
    expected = jax.jit(before.evaluate)(state.params, state.extra, batch)["bits_per_code"]
    assert float(bits) == float(expected)


def test_new_rows_depend_on_the_seed_alone(prior_bundle, artist_codes):
    config = make_config(prior_bundle, artist_codes)
    first, again = (flat(start_run(config)[2].params) for _ in range(2))
    config.seed = 4
    other = flat(start_run(config)[2].params)
    table = "label_conditioner/artist"
    np.testing.assert_array_equal(first[table], again[table])
    np.testing.assert_array_equal(first[table][:3], other[table][:3])
    assert np.all(first[table][3:] != other[table][3:])


def test_weights_are_sharded_as_those_of_the_run(prior_bundle, artist_codes):
    config = make_config(prior_bundle, artist_codes)
    _, built, state = start_run(config, data=1, fsdp=2)
    replicated = flat(start_run(config)[2].params)
    for (name, value), placed in zip(
        flat(state.params).items(), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_array_equal(value, replicated[name], err_msg=name)
        assert placed.committed
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == built.shardings
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params))


def test_a_workdir_is_loaded_from_its_averaged_weights(prior_bundle, artist_codes, tmp_path):
    task, _, state = start_run(make_config(prior_bundle, artist_codes))
    state = state.replace(ema_params=jax.tree.map(lambda leaf: leaf + 1.0, state.ema_params))
    checkpoints = checkpoint.Checkpoints(tmp_path)
    batches = task.open_batches("train", np.arange(2))
    checkpoints.save(7, state, batches, {}, None)
    checkpoints.close()
    batches.close()
    files.write_json(tmp_path / "description.json", task.describe())

    resumed_task, _, resumed_state = start_run(make_config(tmp_path, artist_codes))
    assert resumed_task.describe()["vocabulary"] == GROWN  # no name is new
    expected = flat(state.ema_params)
    for name, value in flat(resumed_state.params).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_codebooks_are_loaded(prior_bundle, artist_codes):
    config = make_config(prior_bundle, artist_codes, "vqvae")
    _, _, state = start_run(config, with_data=False)
    weights = loading.load_model(prior_bundle, "vqvae")[1]
    for loaded, saved in ((state.params, weights["params"]), (state.extra, weights["extra"])):
        loaded, saved = flat(loaded), flat(saved)
        assert loaded.keys() == saved.keys()
        for name, value in saved.items():
            if not name.endswith(("codebook_sum", "codebook_count")):  # those of equal usage
                np.testing.assert_array_equal(loaded[name], value, err_msg=name)
    assert all(bool(book["initialised"]) for book in state.extra.values())


def test_names_without_a_row_of_their_own_replace_nameless_rows(prior_bundle):
    """A bundle may have rows that nobody can name; the rest of the table stays as it is."""
    vocabulary = {"artists": ["unknown"], "genres": ["unknown"]}
    grown = vocabularies.extend_vocabulary(vocabularies.parse_vocabulary(vocabulary), CORPUS)
    here = {
        "vocabulary": dataclasses.asdict(grown),
        "config": {"labels": {"num_artists": 9, "num_genres": 3}},
    }
    artists = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    params = {"label_conditioner": {"artist": artists, "genre": artists[:2]}}
    tables = finetune.grow_tables(params, vocabulary, here, jax.random.key(0))
    extended = tables["label_conditioner"]
    unchanged = [0, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(extended["artist"][unchanged], artists[unchanged])
    assert np.all(extended["artist"][1:4] != artists[1:4])
    assert extended["genre"].shape == (3, 4)
    np.testing.assert_array_equal(extended["genre"][0], artists[0])


def test_weights_that_are_not_their_configs_are_refused(prior_bundle, artist_codes, tmp_path):
    description, weights = loading.load_model(prior_bundle, "level_2")
    del weights["params"]["label_conditioner"]["total"]
    bundle.save_part(tmp_path / "level_2", description, weights)
    with pytest.raises(ValueError, match="lacks params/label_conditioner/total"):
        start_run(make_config(tmp_path, artist_codes))


def test_codes_of_another_vqvae_are_warned_of(prior_bundle, artist_codes, tmp_path, capsys):
    description, weights = loading.load_model(prior_bundle, "level_2")
    description["vqvae"] = {"hash": "another"}
    bundle.save_part(tmp_path / "level_2", description, weights)
    start_run(make_config(tmp_path, artist_codes))
    assert "codes of another VQ-VAE" in capsys.readouterr().err
    start_run(make_config(prior_bundle, artist_codes))
    assert "another VQ-VAE" not in capsys.readouterr().err


def test_half_precision_bundles_start_float32_runs(artist_codes, tmp_path):
    prior_bundle = small_bundle.write(tmp_path, lyrics="none", dtype=np.float16)
    state = start_run(make_config(prior_bundle, artist_codes))[2]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    old = flat(loading.load_model(prior_bundle, "level_2")[1]["params"])[
        "autoregressive/code_embedding"
    ]
    new = flat(state.params)["autoregressive/code_embedding"]
    np.testing.assert_array_equal(new, old.astype(np.float32))


def test_a_run_without_init_from_loads_nothing():
    assert finetune.load_state(ConfigDict(dict(init_from="")), None, None) is None


def test_codebooks_without_averages_start_with_equal_usage():
    """As OpenAI's `restore_k`; those of a trained model keep their averages."""
    vectors = np.float32([[1.0, 2.0], [3.0, 4.0]])
    restored = dict(quantize.restore_codebook(jnp.asarray(vectors))._asdict())
    trained = restored | {"codebook_count": np.float32([1.0, 7.0])}
    codebooks = {"codebooks_0": restored, "codebooks_1": trained}
    usage = finetune.expect_equal_usage(codebooks, [40, 10])
    np.testing.assert_array_equal(usage["codebooks_0"]["codebook_count"], [20.0, 20.0])
    np.testing.assert_array_equal(usage["codebooks_0"]["codebook_sum"], 20 * vectors)
    assert usage["codebooks_1"] is trained
    assert finetune.expect_equal_usage({}, [40, 10]) == {}
