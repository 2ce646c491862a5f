"""Runs that start from trained weights: what is kept, what grows, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jukejax.common import files
from jukejax.common.config import freeze, plain
from jukejax.data import corpus, records, vocabularies
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.models.prior import Prior, PriorConfig, compute_losses
from jukejax.runtime import sharding
from jukejax.training import checkpoint, finetune, program
from jukejax.weights import bundle, loading
from tests.support import small_bundle

CORPUS = Vocabulary(("unknown", "aaron", "Anna ", "zoe"), ("unknown", "dub", "House"))
OLD = small_bundle.VOCABULARY  # artists unknown, anna, ben; genres unknown, house
GROWN = {
    "artists": ("unknown", "anna", "ben", "aaron", "zoe"),
    "genres": ("unknown", "house", "dub"),
}


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """Tracks of three artists: one that the bundle knows, and two that it does not."""
    folder = tmp_path_factory.mktemp("codes")
    random = np.random.default_rng(0)
    info = dict(codebook_size=16, vqvae={"hash": "of the vqvae"})
    with DatasetWriter(folder, kind="codes", vocabulary=CORPUS, **info) as writer:
        for split, artist, genre in (
            ("train", "Anna", ("house",)),
            ("train", "zoe", ("dub", "house")),
            ("train", "", ()),
            ("heldout", "aaron", ("dub",)),
        ):
            levels = {
                f"level_{k}": random.integers(0, 16, 256 * 128 // hop)
                for k, hop in enumerate(records.HOPS)
            }
            writer.add(split, corpus.Track(artist or "none", artist=artist, genre=genre), **levels)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none")


def config_of(folder, codes, part="level_2", **changes) -> ConfigDict:
    """A run's config with the model of a bundle's part, but without its number of names."""
    model = plain(small_bundle.configs("none")[part])
    model |= changes
    if model.get("labels"):
        model["labels"] = {
            key: value for key, value in model["labels"].items() if not key.startswith("num_")
        }
    return ConfigDict(
        dict(
            task="vqvae" if part == "vqvae" else "prior",
            seed=3,
            init_from=str(folder),
            dtype="float32",
            data=dict(folder=str(codes), batch_size=2)
            | (dict(window=2048) if part == "vqvae" else {}),
            optimizer={},
            model=model,
            loss=dict(linf_k=128),
        )
    )


def started(config, *, data=2, fsdp=1, with_data=True):
    """(task, program, state) of a run on two devices that starts as its config says."""
    mesh = sharding.make_mesh(sharding.MeshConfig(data, fsdp), jax.devices()[:2])
    task = program.make_task(config, with_data=with_data)
    built = program.build_program(task, program.make_recipe(config), mesh)
    with jax.set_mesh(built.mesh):
        return task, built, finetune.start(config, task, built, jax.random.key(config.seed))


def flat(tree) -> dict[str, np.ndarray]:
    return bundle.flatten_weights(jax.tree.map(np.asarray, tree))


@pytest.mark.parametrize("part", ["level_2", "level_1"])
def test_known_names_keep_their_rows_and_new_ones_get_the_mean_and_noise(folder, codes, part):
    config = config_of(folder, codes, part)
    task, _, state = started(config)
    told = task.describe()
    assert told["vocabulary"] == GROWN
    assert told["config"]["labels"]["num_artists"] == 5
    old = flat(loading.load_model(folder, part)[1]["params"])
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


def test_batches_tell_the_models_own_ids(folder, codes):
    task = program.make_task(config_of(folder, codes))
    names = {track.name: track for track in corpus.open_dataset(codes).tracks("train")}
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


def test_a_started_model_says_what_the_old_one_said(folder, codes):
    """Of codes whose names both know: rows moved, or ids mixed up, would change the bits."""
    task, _, state = started(config_of(folder, codes))
    described, weights = loading.load_model(folder, "level_2")
    frozen = freeze(PriorConfig, described["config"])
    batch = {
        "codes": np.random.default_rng(1).integers(0, 16, (2, 64)).astype(np.int32),
        "labels": np.array([[99_999, 0, 8192, 1, 1, -1], [99_999, 128, 8192, 0, 0, 1]], np.int32),
    }
    model = Prior(frozen)

    @jax.jit
    def bits(params):
        told = {"labels": batch["labels"], "method": model.predictions}
        predictions = model.apply({"params": params}, batch["codes"], **told)
        return compute_losses(frozen, predictions, batch["codes"], batch["labels"])[0]

    theirs = bits(weights["params"])
    ours = jax.jit(task.evaluate)(state.params, state.extra, batch)["bits_per_code"]
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_new_rows_follow_the_seed_and_nothing_else(folder, codes):
    config = config_of(folder, codes)
    first, again = (flat(started(config)[2].params) for _ in range(2))
    config.seed = 4
    other = flat(started(config)[2].params)
    table = "label_conditioner/artist"
    np.testing.assert_array_equal(first[table], again[table])
    np.testing.assert_array_equal(first[table][:3], other[table][:3])
    assert np.all(first[table][3:] != other[table][3:])


def test_weights_lie_in_the_shards_of_the_run(folder, codes):
    config = config_of(folder, codes)
    _, built, state = started(config, data=1, fsdp=2)
    whole = flat(started(config)[2].params)
    for (name, value), placed in zip(
        flat(state.params).items(), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_array_equal(value, whole[name], err_msg=name)
        assert placed.committed
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == built.shardings
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params))


def test_a_workdir_gives_its_averaged_weights(folder, codes, tmp_path):
    task, _, state = started(config_of(folder, codes))
    state = state.replace(ema_params=jax.tree.map(lambda leaf: leaf + 1.0, state.ema_params))
    checkpoints = checkpoint.Checkpoints(tmp_path)
    batches = task.open_batches("train", np.arange(2))
    checkpoints.save(7, state, batches, {}, None)
    checkpoints.close()
    batches.close()
    files.write_json(tmp_path / "description.json", task.describe())

    told = started(config_of(tmp_path, codes))
    assert told[0].describe()["vocabulary"] == GROWN  # nothing is new any more
    expected = flat(state.ema_params)
    for name, value in flat(told[2].params).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_codebooks_are_kept(folder, codes):
    config = config_of(folder, codes, "vqvae")
    _, _, state = started(config, with_data=False)
    weights = loading.load_model(folder, "vqvae")[1]
    for ours, theirs in ((state.params, weights["params"]), (state.extra, weights["extra"])):
        ours, theirs = flat(ours), flat(theirs)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert all(bool(book["initialised"]) for book in state.extra.values())


def test_names_without_a_row_of_their_own_replace_nameless_rows(folder):
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
    found = tables["label_conditioner"]
    kept = [0, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(found["artist"][kept], artists[kept])
    assert np.all(found["artist"][1:4] != artists[1:4])
    assert found["genre"].shape == (3, 4)
    np.testing.assert_array_equal(found["genre"][0], artists[0])


def test_another_width_is_refused_in_one_line(folder, codes):
    transformer = plain(small_bundle.stack(emb_dim=32, resid_dropout=0.5, num_heads=4))
    config = config_of(folder, codes, transformer=transformer)
    with pytest.raises(ValueError, match="another shape") as error:
        program.make_task(config)  # before anything is written
    message = str(error.value)
    assert "model.transformer.emb_dim is 32 here and 16 there" in message
    assert "model.transformer.num_heads is 4 here and 2 there" in message
    assert "dropout" not in message  # that may change
    assert "\n" not in message


def test_a_vqvae_of_another_width_is_refused(folder, codes):
    config = config_of(folder, codes, "vqvae", width=8, ema_decay=0.5)
    with pytest.raises(ValueError, match=r"this run: model\.width is 8 here and 4 there; give"):
        program.make_task(config, with_data=False)


def test_labels_where_the_old_model_has_none_are_refused(folder, codes, tmp_path):
    described, weights = loading.load_model(folder, "level_2")
    described["config"]["labels"] = None
    bundle.save_part(tmp_path / "level_2", described, weights)
    with pytest.raises(ValueError, match=r"model\.labels is given here and None there"):
        started(config_of(tmp_path, codes))


def test_another_model_or_none_at_all_is_refused(folder, codes, tmp_path):
    with pytest.raises(ValueError, match="has no level_2; export it"):
        started(config_of(tmp_path, codes))
    with pytest.raises(ValueError, match="is not a folder"):
        started(config_of(tmp_path / "gone", codes))
    with pytest.raises(ValueError, match="holds level_1, but level_2 is needed"):
        started(config_of(folder / "level_1", codes))


def test_weights_that_are_not_their_configs_are_refused(folder, codes, tmp_path):
    described, weights = loading.load_model(folder, "level_2")
    del weights["params"]["label_conditioner"]["total"]
    bundle.save_part(tmp_path / "level_2", described, weights)
    with pytest.raises(ValueError, match="lacks params/label_conditioner/total"):
        started(config_of(tmp_path, codes))


def test_codes_of_another_vqvae_are_warned_of(folder, codes, tmp_path, capsys):
    described, weights = loading.load_model(folder, "level_2")
    described["vqvae"] = {"hash": "another"}
    bundle.save_part(tmp_path / "level_2", described, weights)
    started(config_of(tmp_path, codes))
    assert "codes of another VQ-VAE" in capsys.readouterr().err
    started(config_of(folder, codes))
    assert "another VQ-VAE" not in capsys.readouterr().err


def test_the_licence_of_the_weights_goes_along(folder, codes, tmp_path):
    told = program.make_task(config_of(folder, codes)).describe()
    files.write_json(tmp_path / "description.json", told)
    from_a_run = finetune.origin(config_of(tmp_path, codes))["init_from"]
    assert from_a_run == told["init_from"] | {"path": str(tmp_path)}
    assert told["init_from"] == {
        "path": str(folder),
        "license": small_bundle.FACTS["license"],
        "provenance": small_bundle.FACTS["provenance"],
    }
    assert finetune.origin(ConfigDict(dict(init_from=""))) == {}
    assert finetune.start(ConfigDict(dict(init_from="")), None, None, None) is None


def test_half_precision_bundles_start_float32_runs(codes, tmp_path):
    folder = small_bundle.write(tmp_path, lyrics="none", dtype=np.float16)
    state = started(config_of(folder, codes))[2]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    old = flat(loading.load_model(folder, "level_2")[1]["params"])["autoregressive/code_embedding"]
    new = flat(state.params)["autoregressive/code_embedding"]
    np.testing.assert_array_equal(new, old.astype(np.float32))
