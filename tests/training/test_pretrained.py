"""Checks and records of the model that a run starts from."""

import pytest
from ml_collections import ConfigDict

from jukejax.common import files
from jukejax.common.config import to_plain
from jukejax.training import pretrained, program
from jukejax.weights import bundle, loading
from tests.support import small_bundle
from tests.support.pretrained_run import make_config, start_run


def test_another_width_is_refused_in_one_line(prior_bundle, artist_codes):
    transformer = to_plain(small_bundle.stack(emb_dim=32, resid_dropout=0.5, num_heads=4))
    config = make_config(prior_bundle, artist_codes, transformer=transformer)
    with pytest.raises(ValueError, match="another shape") as error:
        program.make_task(config)  # before anything is written
    message = str(error.value)
    assert "model.transformer.emb_dim is 32 here and 16 there" in message
    assert "model.transformer.num_heads is 4 here and 2 there" in message
    assert "dropout" not in message  # that may change
    assert "\n" not in message


def test_a_vqvae_of_another_width_is_refused(prior_bundle, artist_codes):
    config = make_config(prior_bundle, artist_codes, "vqvae", width=8, ema_decay=0.5)
    with pytest.raises(ValueError, match=r"this run: model\.width is 8 here and 4 there; change"):
        program.make_task(config, with_data=False)


def test_labels_where_the_old_model_has_none_are_refused(prior_bundle, artist_codes, tmp_path):
    description, weights = loading.load_model(prior_bundle, "level_2")
    description["config"]["labels"] = None
    bundle.save_part(tmp_path / "level_2", description, weights)
    with pytest.raises(ValueError, match=r"model\.labels is given here and None there"):
        start_run(make_config(tmp_path, artist_codes))


def test_another_model_or_none_at_all_is_refused(prior_bundle, artist_codes, tmp_path):
    with pytest.raises(ValueError, match="has no level_2; export it"):
        start_run(make_config(tmp_path, artist_codes))
    with pytest.raises(ValueError, match="is not a folder"):
        start_run(make_config(tmp_path / "gone", artist_codes))
    with pytest.raises(ValueError, match="holds level_1, but level_2 is needed"):
        start_run(make_config(prior_bundle / "level_1", artist_codes))


def test_the_license_of_the_weights_goes_along(prior_bundle, artist_codes, tmp_path):
    description = program.make_task(make_config(prior_bundle, artist_codes)).describe()
    files.write_json(tmp_path / "description.json", description)
    from_a_run = pretrained.describe_origin(make_config(tmp_path, artist_codes))["init_from"]
    assert from_a_run == description["init_from"] | {"path": str(tmp_path)}
    assert description["init_from"] == {
        "path": str(prior_bundle),
        "license": small_bundle.FACTS["license"],
        "provenance": small_bundle.FACTS["provenance"],
    }
    assert pretrained.describe_origin(ConfigDict(dict(init_from=""))) == {}
