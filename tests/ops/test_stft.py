"""Spectrograms and reconstruction losses against float64 NumPy, and their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import stft as ops
from jukejax.ops.stft import STFT


def slow_magnitudes(audio, stft):
    """Returns [T] -> [F, K] in float64: full frames, window centered in n_fft, explicit DFT."""
    padded = np.pad(np.asarray(audio, np.float64), stft.n_fft // 2, mode="reflect")
    window = np.zeros(stft.n_fft)
    left = (stft.n_fft - stft.window) // 2
    window[left : left + stft.window] = [
        0.5 - 0.5 * np.cos(2 * np.pi * i / stft.window) for i in range(stft.window)
    ]
    times, bins = np.arange(stft.n_fft), np.arange(stft.n_fft // 2 + 1)
    dft = np.exp(-2j * np.pi * np.outer(times, bins) / stft.n_fft)
    starts = range(0, len(audio) + 1, stft.hop)
    return np.abs(np.stack([padded[i : i + stft.n_fft] * window for i in starts]) @ dft)


magnitudes = jax.jit(ops.magnitudes, static_argnums=1)


@pytest.mark.parametrize(
    ("stft", "length"),
    [
        (STFT(64, 16, 48), 100),
        (STFT(64, 7, 30), 161),
        (STFT(32, 20, 32), 100),
        (STFT(64, 50, 13), 161),
        pytest.param(STFT(64, 16, 48), 161, marks=pytest.mark.slow),
        pytest.param(STFT(64, 7, 30), 100, marks=pytest.mark.slow),
        pytest.param(STFT(32, 20, 32), 161, marks=pytest.mark.slow),
        pytest.param(STFT(64, 50, 13), 100, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_magnitudes_equal_an_explicit_dft(stft, length):
    audio = np.random.default_rng(0).normal(size=(2, length)).astype(np.float32)
    ours = magnitudes(audio, stft)
    theirs = np.stack([slow_magnitudes(row, stft) for row in audio])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_too_short_audio_is_named():
    with pytest.raises(ValueError, match="1024 samples are too few for n_fft 2048"):
        ops.magnitudes(jnp.zeros((1, 1024)), ops.SINGLE)
    with pytest.raises(ValueError, match="window <= n_fft"):
        STFT(64, 16, 65)


@pytest.fixture
def pair():
    random = np.random.default_rng(0)
    return tuple(random.normal(0, 0.3, (2, 2500, 2)).astype(np.float32) for _ in range(2))


def test_spectral_losses_are_norms_of_differences(pair):
    target, output = pair
    a, b = (np.asarray(magnitudes(x.mean(axis=-1), ops.SINGLE)) for x in pair)
    distance = np.sqrt(np.sum((a - b) ** 2, axis=(1, 2)))
    size = np.sqrt(np.sum(a**2, axis=(1, 2)))

    @jax.jit
    def compute_losses(target, output):
        return (
            ops.spectral_loss(target, output),
            ops.spectral_convergence(target, output),
            ops.multispectral_loss(target, output),
            [ops.spectral_loss(target, output, stft) for stft in ops.MULTI],
        )

    spectral, convergence, multispectral, parts = compute_losses(target, output)
    np.testing.assert_allclose(spectral, distance, rtol=1e-5)
    np.testing.assert_allclose(convergence, distance / size, rtol=1e-5)
    np.testing.assert_allclose(multispectral, np.mean(parts, axis=0), rtol=1e-6)


def test_convergence_to_silence_is_zero(pair):
    silence, convergence = np.zeros_like(pair[0]), jax.jit(ops.spectral_convergence)
    np.testing.assert_array_equal(convergence(silence, pair[1]), [0, 0])
    np.testing.assert_allclose(convergence(pair[1], silence), [1, 1], rtol=1e-6)


LOSSES = {
    "spectral": ops.spectral_loss,
    "multispectral": ops.multispectral_loss,
    "convergence": ops.spectral_convergence,
    "log": ops.log_magnitude_loss,
    "l1": ops.l1,
    "l2": ops.l2,
    "linf": lambda x, y: ops.linf(x, y, k=16),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradient_at_digital_silence_is_zero(loss):
    silence = np.zeros((1, 2048, 1), np.float32)
    gradient = jax.jit(jax.grad(lambda y: jnp.sum(loss(silence, y))))(silence)
    np.testing.assert_array_equal(gradient, silence)


def test_waveform_losses_by_hand():
    target = jnp.zeros((2, 3, 1))
    output = jnp.array([[1.0, -2.0, 3.0], [0.0, 4.0, -5.0]])[..., None]
    assert ops.l1(target, output) == pytest.approx(15 / 6)
    assert ops.l2(target, output) == pytest.approx(55 / 6)
    assert ops.linf(target, output, k=2) == pytest.approx((9 + 4 + 25 + 16) / 4)
    with pytest.raises(ValueError, match="linf_k 4 exceeds the window's 3 samples"):
        ops.linf(target, output, k=4)


def test_bandwidth_of_a_known_signal():
    step = np.ones((4096, 2))
    step[::2] = -0.5
    items = [step, 0.5 * step]
    ours = ops.measure_bandwidth(items)
    values = np.concatenate(items)
    assert ours.l1 == pytest.approx(np.abs(values).mean())
    assert ours.l2 == pytest.approx(values.var())
    norms = [np.linalg.norm(magnitudes(x.mean(axis=1)[None], ops.SINGLE)) for x in items]
    assert ours.spec == pytest.approx(np.mean(norms), rel=1e-5)


def test_bandwidth_stops_when_it_has_seen_enough():
    def items():
        yield np.ones((4096, 1))
        yield np.ones((4096, 1))
        raise AssertionError("read too far")

    assert ops.measure_bandwidth(items(), max_values=8000).l1 == 1.0
    with pytest.raises(ValueError, match="at least one window"):
        ops.measure_bandwidth([])
