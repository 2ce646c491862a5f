"""Reading and writing of sound files, intact and damaged."""

import numpy as np
import pytest
import soundfile

from jukejax.data import audio, decoding
from tests.support.sound_files import write_file

RATE = 44100


def tone(seconds=2.0, rate=RATE, channels=2, peak=0.5, hertz=440.0):
    time = np.arange(round(seconds * rate)) / rate
    wave = peak * np.sin(2 * np.pi * hertz * time)
    return np.stack([wave * (1 - 0.25 * c) for c in range(channels)], axis=1).astype(np.float32)


def level(sound):
    """Peak frequency and RMS of the middle of the left channel."""
    middle = sound[len(sound) // 4 : len(sound) // 4 + RATE // 2, 0]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return spectrum.argmax() * RATE / len(middle), np.sqrt(np.mean(middle**2))


def test_sixteen_bit_files_are_read_exactly(tmp_path):
    sound = np.random.RandomState(0).randint(-32768, 32768, (5000, 2)).astype(np.int16)
    for name in ("a.wav", "a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, sound, RATE, subtype="PCM_16")
        decoded, rate = decoding.decode_file(tmp_path / name)
        assert rate == RATE
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(audio.to_int16(decoded), sound)


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "a.m4a", "a.aac", "a.wma"]
)
def test_every_format_gives_the_same_tone(tmp_path, name):
    path, sound = tmp_path / name, tone()
    if name == "a.opus":
        soundfile.write(path, tone(rate=48000), 48000, format="OGG", subtype="OPUS")
    elif name in ("a.m4a", "a.aac", "a.wma"):
        write_file(path, sound)
    else:
        soundfile.write(path, sound, RATE)
    loaded = audio.load_audio(path).samples
    hertz, rms = level(loaded)
    assert loaded.shape[1] == 2
    assert abs(len(loaded) - len(sound)) < 0.06 * RATE
    assert abs(hertz - 440) < 2
    assert abs(rms - 0.5 / np.sqrt(2)) < 0.01


def test_other_rates_are_resampled_without_aliases(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(rate=22050, channels=1), 22050)
    loaded = audio.load_audio(tmp_path / "a.wav").samples
    assert loaded.shape == (2 * RATE, 1)
    hertz, _ = level(loaded)
    assert abs(hertz - 440) < 2
    soundfile.write(tmp_path / "b.wav", tone(rate=96000, hertz=30000.0), 96000, subtype="FLOAT")
    sound = audio.load_audio(tmp_path / "b.wav", repair=False).samples
    assert np.abs(sound[RATE // 2 : -RATE // 2]).max() < 1e-4


@pytest.mark.parametrize("length", [1, 500])
def test_other_rates_are_read_where_the_resampler_returns_nothing_for_a_block(tmp_path, length):
    soundfile.write(tmp_path / "a.wav", np.full(length, 0.5, np.float32), 22050)
    assert audio.load_audio(tmp_path / "a.wav").samples.shape == (2 * length, 1)


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.m4a", "a.aac", "a.webm"]
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    path = tmp_path / name
    sound = tone() + 0.1 * np.random.RandomState(0).randn(2 * RATE, 2).astype(np.float32)
    if path.suffix in (".m4a", ".aac", ".webm"):
        write_file(path, sound, 48000 if path.suffix == ".webm" else RATE)
    else:
        soundfile.write(path, sound, RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"^truncated"):
        decoding.decode_file(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"I am a list of songs\n" * 100, "a text file"),
        (bytes(5000), "not audio in a known format"),
        (np.random.RandomState(0).bytes(5000), "not audio in a known format"),
    ],
)
def test_files_that_are_not_audio_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        decoding.decode_file(path)


def test_missing_files_nan_and_files_without_samples_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        decoding.decode_file(tmp_path / "nowhere.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1]), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="not numbers"):
        decoding.decode_file(tmp_path / "nan.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), RATE)
    with pytest.raises(ValueError, match="no samples"):
        decoding.decode_file(tmp_path / "none.wav")


def test_a_streamed_wav_without_a_length_is_complete(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE)
    header = bytearray(path.read_bytes())
    header[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(header)
    assert len(decoding.decode_file(path)[0]) == 2 * RATE


def test_write_wav_scales_loud_audio_and_returns_the_gain(tmp_path):
    sound = tone(peak=1.6)
    gain = audio.write_wav(tmp_path / "a.wav", sound)
    assert gain == pytest.approx(1 / 1.6, rel=1e-4)
    back, rate = decoding.decode_file(tmp_path / "a.wav")
    assert rate == RATE
    np.testing.assert_allclose(back, sound * gain, atol=1 / 32768)


def test_write_wav_does_not_change_quiet_audio(tmp_path):
    mono = tone(channels=1)[:, 0]
    assert audio.write_wav(tmp_path / "a.wav", mono) == 1.0
    back, _ = decoding.decode_file(tmp_path / "a.wav")
    np.testing.assert_allclose(back[:, 0], mono, atol=0.5 / 32768 + 1e-7)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    with pytest.raises(ValueError, match="NaN"):
        audio.write_wav(tmp_path / "b.wav", np.array([np.nan]))


def test_a_tag_that_is_not_utf8_is_no_error(tmp_path):
    """PyAV 18 needs an argument for it that PyAV 19 lacks."""
    path = tmp_path / "tagged.m4a"
    write_file(path, np.zeros((10 * 1024, 1), np.float32), tags={"title": "QQQQQQ"})
    content = path.read_bytes()
    assert b"QQQQQQ" in content
    path.write_bytes(content.replace(b"QQQQQQ", b"\xff\xfe\xc3\x28\xa0\xa1"))
    samples, rate = decoding.decode_file(path)
    assert rate == 44100
    assert len(samples) >= 10 * 1024
