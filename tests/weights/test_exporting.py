"""Export of runs that belong together: the VQ-VAE under priors is the one that made their codes."""

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jukejax.common import files
from jukejax.weights import bundle
from jukejax.weights.codec_identity import identify_codec
from jukejax.weights.export_options import ExportOptions
from jukejax.weights.exporting import export_model
from tests.support import small_bundle

CONFIGS = small_bundle.configs("none")


def write_run(folder, part, description):
    """Writes a workdir of `train`; its averaged weights have seed 1, its latest seed 2."""
    averaged, latest = (small_bundle.random_weights(CONFIGS[part], seed) for seed in (1, 2))
    files.write_json(folder / "description.json", description)
    state = {"params": latest["params"], "ema_params": averaged["params"]}
    state["extra"] = averaged.get("extra", {})
    with ocp.CheckpointManager((folder / "checkpoints").absolute()) as manager:
        manager.save(3, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))
    return averaged, latest


def test_priors_keep_the_vqvae_of_their_codes_and_get_its_new_hash(tmp_path):
    vqvae, prior = tmp_path / "vqvae", tmp_path / "prior"
    for folder in (vqvae, prior):
        folder.mkdir()
    averaged, _ = write_run(vqvae, "vqvae", small_bundle.describe(CONFIGS["vqvae"]))
    identity = identify_codec(averaged)
    description = small_bundle.describe(CONFIGS["level_2"])
    description["vqvae"] = {"hash": identity["hash"]}  # of a run before there was a codes_hash
    _, latest = write_run(prior, "level_2", description)
    inputs = (str(vqvae), str(prior))
    export_model(ExportOptions(inputs, tmp_path / "b", raw=True))
    model = bundle.open_bundle(tmp_path / "b")
    written, weights = bundle.load_part(tmp_path / "b" / "level_2")
    assert model["vqvae"] == written["vqvae"] == identity
    assert model["provenance"] == [f"{vqvae} (ema, step 3)", f"{prior} (raw, step 3)"]
    assert identify_codec(bundle.load_part(tmp_path / "b" / "vqvae")[1]) == identity
    for name, value in bundle.flatten_weights(latest["params"]).items():
        np.testing.assert_array_equal(bundle.flatten_weights(weights["params"])[name], value)
    files.write_json(prior / "description.json", description | {"vqvae": {"hash": "another"}})
    message = r"prior was trained on codes of another VQ-VAE than .*vqvae; give the one that"
    with pytest.raises(ValueError, match=message):
        export_model(ExportOptions(inputs, tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_recommended_settings_are_written_checked_and_stay(tmp_path):
    folder, settings = tmp_path / "a", tmp_path / "sampling.json"
    small_bundle.write(folder)
    recommended = {"temperature": {"level_2": 1.2}, "schedule": "parallel"}
    files.write_json(settings, recommended)
    export_model(ExportOptions([str(folder)], tmp_path / "b", sampling=str(settings)))
    export_model(ExportOptions([str(tmp_path / "b")], tmp_path / "c"))
    assert bundle.open_bundle(tmp_path / "c")["sampling"] == recommended
    files.write_json(settings, {"temprature": 1})
    with pytest.raises(ValueError, match=r"sampling\.json\.temprature is not known"):
        export_model(ExportOptions([str(folder)], tmp_path / "d", sampling=str(settings)))
    assert not (tmp_path / "d").exists()
