"""A prior of a mixture of code corpora: its data, and the VQ-VAEs of their codes."""

import pytest

from jukejax.data import corpus
from jukejax.training import run_log
from jukejax.training.loop import Training
from tests.support.small_codes import write_codes
from tests.training.test_loop import config_of, one_device  # noqa: F401


@pytest.mark.slow
def test_a_run_on_a_mixture_resumes_with_the_bits_of_an_uninterrupted_one(tmp_path):
    parts = [write_codes(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    text = f"{parts[0]}:0.75,{parts[1]}:0.25"
    whole = Training(config_of(text, steps=6, model__labels=None), tmp_path / "whole")
    assert whole.task.track_names == ("a/t0", "b/t0")
    whole = whole.run()
    Training(config_of(text, steps=3, model__labels=None), tmp_path / "parts").run()
    resumed = Training(config_of(text, steps=6, model__labels=None), tmp_path / "parts").run()
    assert resumed["heldout"] == whole["heldout"]
    rows = [
        [
            row["loss"]
            for row in run_log.read_metrics(tmp_path / name / "metrics.jsonl")
            if row["split"] == "train"
        ]
        for name in ("whole", "parts")
    ]
    assert rows[0] == rows[1]
    assert len(set(rows[0])) == 6
    other = config_of(f"{parts[0]}:0.5,{parts[1]}:0.5", steps=6, model__labels=None)
    with pytest.raises(ValueError, match=r"begun with config\.data=.*a:0\.75"):
        Training(other, tmp_path / "whole")


def test_codes_of_another_vqvae_are_refused(tmp_path):
    parts = [write_codes(tmp_path / name) for name in ("a", "b")]
    path = parts[1] / "dataset.json"
    path.write_text(path.read_text().replace('"hash": "x"', '"hash": "y"'))
    assert corpus.open_dataset(parts[1]).info["vqvae"] == {"hash": "y"}
    with pytest.raises(ValueError, match=r"b has codes of another VQ-VAE than .*a; encode both"):
        Training(config_of(f"{parts[0]},{parts[1]}", steps=2), tmp_path / "run")
