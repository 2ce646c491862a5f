"""Surround sound becomes stereo by the names of its channels."""

import numpy as np
import pytest
import soundfile

from jukejax.data import audio
from jukejax.data.downmix import Downmix
from tests.support.sound_files import write_file

RATE = 44100
HERTZ = {"FL": 440, "FR": 660, "FC": 1000, "LFE": 60, "BL": 1500, "BR": 2200}
HALF = np.sqrt(0.5)
LEFT = {440: 1.0, 660: 0.0, 1000: HALF, 60: 0.0, 1500: HALF, 2200: 0.0}
RIGHT = {440: 0.0, 660: 1.0, 1000: HALF, 60: 0.0, 1500: 0.0, 2200: HALF}


def tones(rate):
    time = np.arange(2 * rate) / rate
    columns = [0.2 * np.sin(2 * np.pi * hertz * time) for hertz in HERTZ.values()]
    return np.stack(columns, axis=1).astype(np.float32)


def levels(channel, rate=RATE):
    """The amplitude of each tone relative to 0.2."""
    middle = channel[rate // 2 : rate // 2 + rate]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) / (len(middle) / 4)
    return {hertz: spectrum[hertz - 2 : hertz + 3].max() / 0.2 for hertz in LEFT}


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.m4a"])
def test_every_container_gives_each_channel_its_side(tmp_path, name):
    path = tmp_path / name
    if name == "a.wav":
        soundfile.write(path, tones(RATE), RATE, "PCM_24", format="WAVEX")
    elif name == "a.flac":
        soundfile.write(path, tones(RATE), RATE, "PCM_24")
    elif name == "a.ogg":  # Vorbis' own order, which libsndfile does not make
        soundfile.write(path, tones(RATE)[:, [0, 2, 1, 4, 5, 3]], RATE, format="OGG")
    else:
        rate = 48000 if name == "a.opus" else RATE
        write_file(path, tones(rate), rate)
    sound = audio.load_audio(path)
    assert sound.samples.shape[1] == 2
    assert "6 channels" in sound.notes[0]
    for channel, expected in zip(sound.samples.T, (LEFT, RIGHT), strict=True):
        measured = levels(channel)
        for hertz, level in expected.items():
            if hertz == 60 and name == "a.m4a":
                continue  # AAC removes the highs of LFE, and adds noise at -40 dB
            assert measured[hertz] == pytest.approx(level, abs=0.03), hertz


def test_music_in_the_center_alone_is_not_silent(tmp_path):
    sound = np.zeros((RATE, 6), np.float32)
    sound[:, 2] = tones(RATE)[:RATE, 2]
    soundfile.write(tmp_path / "a.wav", sound, RATE, "FLOAT", format="WAVEX")
    loaded = audio.load_audio(tmp_path / "a.wav")
    assert loaded.samples.shape == (RATE, 1)  # two equal channels
    np.testing.assert_allclose(loaded.samples[:, 0], sound[:, 2] * HALF, atol=1e-6)


def test_layouts_without_names_follow_the_number_of_channels():
    block = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(
        Downmix(("",) * 4)(block), [[1, 0], [0, 1], [HALF, 0], [0, HALF]], rtol=1e-6
    )
    assert Downmix(("",)).channels == 1
    assert Downmix(("FL", "FR")).note == ""
    with pytest.raises(ValueError, match="16 channels of an unknown layout"):
        Downmix(("",) * 16)
    with pytest.raises(ValueError, match=r"unknown layout \(AMBI0/AMBI1/AMBI2\)"):
        Downmix(("AMBI0", "AMBI1", "AMBI2"))
