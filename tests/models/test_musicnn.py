"""musicnn in JAX: against a slow twin, librosa's spectrogram, and what TensorFlow said."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jukejax.evaluation import tagger
from jukejax.models import musicnn
from jukejax.weights import musicnn as weights_file

GOLDEN = Path(__file__).parents[1] / "golden/musicnn/tags.npz"
FRAMES = 24  # of the small pieces here; the nets take any number


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(0)
    drawn = {
        name: random.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in weights_file.SHAPES.items()
    }
    for name, value in drawn.items():
        if name.endswith(("gamma", "moving_variance")):
            drawn[name] = 0.5 + np.abs(value)
    return weights_file.select_weights(drawn)


def slow_forward(w, mel):
    """One piece [T, M] to its features, by sums over windows as the paper's figure has them."""
    w = {name: np.asarray(value, np.float64) for name, value in w.items()}

    def norm(number, x):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        spread = np.sqrt(w[f"{name}/moving_variance"] + 1e-3)
        return (x - w[f"{name}/moving_mean"]) / spread * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def conv(number, x, before, after):
        """x [T, M] -> [T, M', C]."""
        name = f"conv2d_{number}" if number else "conv2d"
        kernel = w[f"{name}/kernel"][:, :, 0]
        padded = np.pad(x, ((before, after), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2])
        out = np.tensordot(windows, kernel, axes=2) + w[f"{name}/bias"]
        return norm(number + 1, np.maximum(out, 0))

    x = norm(0, mel[..., None])[..., 0]
    pads = [(3, 3), (3, 3), (63, 64), (31, 32), (15, 16)]
    layers = [np.concatenate([conv(i, x, *pad).max(axis=1) for i, pad in enumerate(pads)], axis=1)]
    for i in (5, 6, 7):
        y = conv(i, layers[-1], 3, 3)[:, 0]
        layers.append(y if i == 5 else y + layers[-1])
    dense = np.concatenate(layers, axis=1)
    pooled = np.stack([dense.max(axis=0), dense.mean(axis=0)], axis=-1).ravel()
    hidden = np.maximum(norm(9, pooled) @ w["dense/kernel"] + w["dense/bias"], 0)
    return norm(10, hidden)


def test_features_equal_those_of_a_slow_twin(weights):
    mel = np.random.default_rng(1).uniform(0, 3, (2, FRAMES, tagger.MELS)).astype(np.float32)
    features, tags = musicnn.compute_tags(weights, mel)
    assert tags.shape == (2, musicnn.TAGS)
    for ours, piece in zip(features, mel, strict=True):
        np.testing.assert_allclose(ours, slow_forward(weights, piece), rtol=1e-3, atol=1e-3)


def test_the_spectrogram_is_librosas():
    import librosa

    sound = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    theirs = librosa.feature.melspectrogram(
        y=sound, sr=tagger.RATE, n_fft=tagger.N_FFT, hop_length=tagger.HOP, n_mels=tagger.MELS
    ).T
    # 16 bits keep eleven digits, of which the last may differ: 5e-4 of the power.
    ours = (10 ** tagger.compute_log_mel(sound) - 1) / 10_000
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-6)


def test_a_sound_becomes_a_row_for_each_three_seconds(weights):
    sound = np.random.default_rng(0).normal(0, 0.1, (10 * 44_100, 2)).astype(np.float32)
    features = tagger.tag_sound(weights, sound).features
    assert features.shape == (3, musicnn.FEATURES)
    alone = tagger.tag_sound(weights, sound[: 44_100 * 4]).features
    np.testing.assert_allclose(alone[0], features[0], rtol=1e-3, atol=1e-3)
    assert tagger.tag_sound(weights, sound[:44_100]).features.shape == (1, musicnn.FEATURES)


def test_the_most_likely_tags_are_named(weights):
    sound = np.random.default_rng(0).normal(0, 0.1, (4 * 44_100, 1)).astype(np.float32)
    tagging = tagger.tag_sound(weights, sound)
    assert len(set(tagging.top_tags)) == tagger.NUM_TOP
    is_dance = any(tag in tagger.DANCE_TAGS for tag in tagging.top_tags)
    assert tagging.figures == {"dance_tag": float(is_dance)}
    assert len(musicnn.TAG_NAMES) == musicnn.TAGS
    assert set(musicnn.TAG_NAMES) > tagger.DANCE_TAGS


def test_another_file_is_refused(tmp_path, weights):
    wheel = tmp_path / "musicnn.whl"
    with pytest.raises(ValueError, match="not the wheel of musicnn"):
        weights_file.load_musicnn_weights(wheel)
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr(f"{weights_file.FOLDER}.index", b"")
        opened.writestr(f"{weights_file.FOLDER}.data-00000-of-00001", b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ValueError, match=f"other weights .* {digest}"):
        weights_file.load_musicnn_weights(wheel)
    lacking = {name: np.asarray(value) for name, value in weights.items()}
    del lacking["dense/bias"]
    with pytest.raises(ValueError, match="dense/bias is missing"):
        weights_file.select_weights(lacking)


@pytest.mark.slow
def test_released_weights_say_what_tensorflow_says(tmp_path):
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    subprocess.run([*command, "musicnn==0.1.0"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    released = weights_file.load_musicnn_weights(wheel)
    mel = np.random.RandomState(0).uniform(0, 3, (1, 187, 96)).astype(np.float32)
    features, tags = musicnn.compute_tags(released, mel)
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(features[0], golden["features"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(tags[0], golden["tags"], rtol=1e-4, atol=1e-6)
