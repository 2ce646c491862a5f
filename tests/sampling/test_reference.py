"""Sampling of an upsampler whose phases come from a reference (`VQVAE.encode_reference`)."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from jukejax.benches import seams
from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.evaluation.heldout_bits import measure_heldout_bits
from jukejax.inference.codec import Codec
from jukejax.inference.extractor import ActivationExtractor
from jukejax.inference.loaded_model import Model
from jukejax.models.frames import FrameConfig
from jukejax.weights import bundle
from jukejax.weights.codec_identity import identify_codec
from tests.support import small_bundle
from tests.support.small_sample import sample

TURNS = (("strokes", 900, 16_000), ("tones", 0, 160), ("strokes", 0, 900), ("tones", 160, 2300))
FRAMES = FrameConfig(
    widths=(8, 8, 8), depths=(1, 1, 1), turns=((), (), TURNS), band_depth=1, synthesis=True
)


def write_bundle(folder, frames=FRAMES):
    """Writes a bundle of three levels whose level 2 is synthesized, with random weights."""
    configs = small_bundle.configs("none")
    configs["vqvae"] = dataclasses.replace(small_bundle.VQVAE, frames=frames)
    upper = dataclasses.replace(configs["level_1"].upper, reference=True)
    configs["level_1"] = dataclasses.replace(configs["level_1"], upper=upper)
    weights = {part: small_bundle.random_weights(config) for part, config in configs.items()}
    reference = weights["level_1"]["params"]["code_conditioner"]["reference"]
    reference["out"]["kernel"] *= 30  # random weights would change few codes
    identity = identify_codec(weights["vqvae"])
    for part, config in configs.items():
        description = small_bundle.describe(config)
        if part != "vqvae":
            description["vqvae"] = identity
        bundle.save_part(folder / part, description, weights[part])
    bundle.save_bundle(folder, small_bundle.FACTS)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(write_bundle(tmp_path_factory.mktemp("bundle")))


def test_level_1_hears_the_reference_of_level_2(model, tmp_path, monkeypatch):
    values = {"levels": (2, 1), "items": range(2)}
    first = sample(model, tmp_path / "first", **values)
    again = sample(model, tmp_path / "again", **values)
    requests = []

    def encode_silence(codec, upper_codes, level, sound=None):
        requests.append((len(upper_codes), level, sound))
        return np.zeros(4 * len(upper_codes), np.int32)

    monkeypatch.setattr(Codec, "encode_reference", encode_silence)
    silent = sample(model, tmp_path / "silent", **values)
    assert {(level, sound) for _, level, sound in requests} == {(1, None)}
    for track, same, other in zip(first, again, silent, strict=True):
        np.testing.assert_array_equal(track[1], same[1])
        np.testing.assert_array_equal(track[2], other[2])
        assert not np.array_equal(track[1], other[1])


def test_loops_and_ranges_of_such_a_model_are_sampled(model, tmp_path):
    values = {"levels": (2, 1), "candidates": 2}
    sample(model, tmp_path / "first", **values)
    (track,) = sample(
        model,
        tmp_path / "rerolled",
        **values,
        mode="reroll",
        reroll=(0.1, 0.2),
        seconds=None,
        codes=str(tmp_path / "first" / "item_000" / "codes.npz"),
    )
    assert len(track[1]) == 4 * len(track[2])


def test_activations_of_an_upsampler_take_the_reference_of_the_codes(model):
    random = np.random.default_rng(0)
    codes = [random.integers(0, 16, 48 * 4**k).astype(np.int32) for k in (2, 1, 0)]
    extractor = ActivationExtractor(model, level=1)
    activations = extractor.extract_activations(codes, layers=[1], pooling="mean")
    assert np.isfinite(activations.values).all()


@pytest.mark.slow
def test_bench_seams_samples_a_level_with_its_reference(model):
    values = SimpleNamespace(
        model=model.folder, schedule="both", seconds=0.2, batch=2, dtype="", weights="float"
    )
    rows = list(seams.measure_rows(values))
    assert [row["what"] for row in rows if row["what"].startswith("level 1")] == [
        "level 1 sequential",
        "level 1 parallel",
    ]


def test_heldout_bits_depend_on_the_stored_reference(model, tmp_path):
    random = np.random.default_rng(0)
    codes = {f"level_{k}": random.integers(0, 16, 48 * 4 ** (2 - k)) for k in range(3)}
    bits = []
    for reference in (codes["level_1"], (codes["level_1"] + 5) % 16):
        folder = tmp_path / str(len(bits))
        info = dict(codebook_size=16, vqvae=model.codec.identity, references=[1])
        with DatasetWriter(folder, kind="codes", vocabulary=Vocabulary(), **info) as writer:
            writer.add("heldout", corpus.Track("t"), **codes, reference_1=reference)
        (figures,) = measure_heldout_bits(model, folder, 1, max_windows=0).values()
        assert np.isfinite(figures["bits_per_code"])
        bits.append(figures["bits_per_code"])
    assert abs(bits[0] - bits[1]) > 1e-3
