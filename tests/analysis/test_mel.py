"""Mel spectrograms: filters, levels, lengths."""

import numpy as np
import pytest

from jukejax.analysis import mel


def sine(hz, seconds=1.0, amplitude=1.0, sample_rate=44_100):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate)) / sample_rate)


def test_mel_filters_are_slaneys_without_area_normalization():
    import librosa

    expected = librosa.filters.mel(
        sr=44_100, n_fft=2048, n_mels=96, fmin=30.0, fmax=22_050, norm=None
    )
    np.testing.assert_allclose(mel.mel_filters(44_100), expected, atol=1e-6)


def test_no_mel_filter_is_empty():
    assert mel.mel_filters(44_100).max(axis=1).min() > 0.1


@pytest.mark.parametrize("hz", [220.0, 5000.0])
def test_a_full_scale_sine_has_zero_db_and_half_of_it_six_less(hz):
    loud = mel.mel_decibels(sine(hz))[:, 20:-20]
    quiet = mel.mel_decibels(sine(hz, amplitude=0.5))[:, 20:-20]
    power = np.sum(10 ** (loud / 10), axis=0)  # the triangles of neighbors sum to 1
    np.testing.assert_allclose(10 * np.log10(power), 0, atol=0.5)
    assert np.isclose(loud.max() - quiet.max(), 6.02, atol=0.01)


def test_stereo_is_averaged_and_silence_is_finite():
    mono = sine(440)
    stereo = np.stack([mono * 2, np.zeros_like(mono)], axis=1)
    np.testing.assert_allclose(mel.mel_decibels(stereo), mel.mel_decibels(mono), atol=1e-3)
    assert np.isfinite(mel.mel_decibels(np.zeros((50, 2)))).all()


def test_long_audio_is_averaged_into_a_bounded_number_of_columns():
    audio = np.concatenate([sine(440, 20, 0.1), sine(440, 20, 1.0)])
    spectrogram = mel.mel_decibels(audio)
    assert spectrogram.shape == (96, 1200)
    assert np.isclose(spectrogram[:, 900].max() - spectrogram[:, 300].max(), 20, atol=0.1)


def test_empty_audio_is_refused():
    with pytest.raises(ValueError, match="0 samples"):
        mel.mel_decibels(np.zeros(0))
