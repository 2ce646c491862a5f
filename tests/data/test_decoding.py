"""Decoding of sound files: all of a file, or a refusal that says that it is damaged."""

import os
import struct

import numpy as np
import pytest
import soundfile

from jukejax.data import audio, containers, decoding
from tests.support.sound_files import CODECS, RATE, damage, make_song, write_file

SOUNDFILE = (".wav", ".flac", ".ogg", ".aiff", ".au", ".caf", ".w64", ".rf64")
PCM = (".wav", ".aiff", ".au", ".caf", ".w64", ".rf64")


def write(path, sound, rate=RATE):
    if path.suffix in SOUNDFILE:
        soundfile.write(path, sound, rate, **({"format": "RF64"} if path.suffix == ".rf64" else {}))
    else:
        write_file(path, sound, 48000 if path.suffix in (".opus", ".webm") else rate)


def read_content(path):
    with decoding.open_sound(path, identify=True) as sound:
        samples = sum(map(len, sound.blocks()))
        return samples, sound.content


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (suffix, kind)
        for suffix in (*SOUNDFILE, *CODECS)
        for kind in ("cut", "hole", "missing")
        # zeros are silence in PCM, and AC-3 declares no length
        if not (kind == "hole" and suffix in PCM) and (kind, suffix) != ("cut", ".ac3")
    ],
)
def test_damage_is_refused_with_its_kind(tmp_path, suffix, kind):
    path = tmp_path / f"a{suffix}"
    write(path, make_song(4.0))
    assert decoding.decode_file(path)[0].shape[1] == 2
    damage(path, kind)
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        decoding.decode_file(path)


@pytest.mark.parametrize("suffix", [".mp3", ".mp2", ".aac", ".ogg", ".opus", ".webm"])
def test_files_joined_end_to_end_are_read_whole(tmp_path, suffix):
    parts = []
    for seed in (0, 1):
        write(tmp_path / f"{seed}{suffix}", make_song(2.0, seed))
        parts.append(decoding.decode_file(tmp_path / f"{seed}{suffix}")[0])
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(b"".join((tmp_path / f"{s}{suffix}").read_bytes() for s in (0, 1)))
    sound, rate = decoding.decode_file(joined)
    assert abs(len(sound) - len(parts[0]) - len(parts[1])) < 0.06 * rate
    end = parts[1][-rate:][: rate // 2, 0]  # of the second file, and of both
    lags = [sound[len(sound) - rate + lag :][: rate // 2, 0] for lag in range(-1300, 1300)]
    assert max(np.corrcoef(lag, end)[0, 1] for lag in lags) > 0.95


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".m4a", ".wma", ".wv", ".tta", ".au"])
def test_files_that_cannot_be_joined_are_refused(tmp_path, suffix):
    for seed in (0, 1):
        write(tmp_path / f"{seed}{suffix}", make_song(2.0, seed))
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(b"".join((tmp_path / f"{s}{suffix}").read_bytes() for s in (0, 1)))
    with pytest.raises(ValueError, match="damaged"):
        decoding.decode_file(joined)


def test_an_mp3_is_read_beyond_a_false_number_of_frames_and_refused_before_it(tmp_path):
    path = tmp_path / "a.mp3"
    write_file(path, make_song(4.0), options={"write_xing": "1"})
    data = bytearray(path.read_bytes())
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    frames = struct.unpack(">I", data[at : at + 4])[0]
    whole = len(decoding.decode_file(path)[0])
    assert whole == 4 * RATE
    for declared, length in ((frames // 3, whole), (2 * frames, None)):
        data[at : at + 4] = struct.pack(">I", declared)
        path.write_bytes(data)
        if length:
            assert abs(len(decoding.decode_file(path)[0]) - length) < 1300
        else:
            with pytest.raises(ValueError, match=r"4.0 s of the 8.* s that it declares"):
                decoding.decode_file(path)


def test_an_mp3_with_tags_in_its_middle_and_at_its_end_is_whole(tmp_path):
    from mutagen import apev2, id3

    path = tmp_path / "a.mp3"
    write_file(path, make_song(2.0), options={"write_xing": "0", "id3v2_version": "0"})
    whole = decoding.decode_file(path)[0]
    tags = id3.ID3()
    tags.add(id3.TPE1(3, ["Larry Heard"]))
    tags.save(path, v1=2)
    tags = apev2.APEv2()
    tags["Artist"] = "Larry Heard"
    tags.save(str(path))
    np.testing.assert_array_equal(decoding.decode_file(path)[0], whole)
    path.write_bytes(path.read_bytes() + bytes(2 * containers.MAX_TRAILER))
    with pytest.raises(ValueError, match=r"the last 8192 bytes are no sound|damaged"):
        decoding.decode_file(path)


@pytest.mark.parametrize("declared", [0, 20000, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_file_with_a_wrong_length_is_read_whole(tmp_path, declared):
    path = tmp_path / "a.wav"
    sound = make_song(2.0)
    soundfile.write(path, sound, RATE)
    expected = decoding.decode_file(path)[0]
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", declared)
    path.write_bytes(data)
    np.testing.assert_array_equal(decoding.decode_file(path)[0], expected)
    with decoding.open_sound(path) as file:
        assert bool(file.notes) == (declared < 1000000)


def test_chunks_and_zeros_after_the_sound_of_a_wav_file_are_not_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_song(1.0), RATE)
    whole = path.read_bytes()
    for rest in (b"LIST" + struct.pack("<I", 12) + b"INFOIART\0\0\0\0", bytes(700)):
        path.write_bytes(whole + rest)
        assert len(decoding.decode_file(path)[0]) == RATE


def test_an_ogg_stream_that_begins_in_its_middle_is_read(tmp_path):
    path = tmp_path / "a.opus"
    soundfile.write(path, make_song(8.0, rate=48000), 48000, format="OGG", subtype="OPUS")
    data, pages, at = path.read_bytes(), [], 0
    while at < len(data):
        count = data[at + 26]
        size = 27 + count + sum(data[at + 27 : at + 27 + count])
        pages.append(data[at : at + size])
        at += size
    path.write_bytes(b"".join(pages[:2] + pages[4:]))
    sound, rate = decoding.decode_file(path)
    assert 5 * rate < len(sound) < 7 * rate
    path.write_bytes(b"".join(pages[:4] + pages[5:]))
    with pytest.raises(ValueError, match="an Ogg page is missing"):
        decoding.decode_file(path)


def test_a_flac_of_other_samples_than_its_checksum_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    for subtype in ("PCM_16", "PCM_24", "PCM_S8"):
        soundfile.write(path, make_song(1.0), RATE, subtype)
        assert len(decoding.decode_file(path)[0]) == RATE
        data = bytearray(path.read_bytes())
        data[26] ^= 1  # the first byte of the MD5 in STREAMINFO
        path.write_bytes(data)
        with pytest.raises(ValueError, match="MD5"):
            decoding.decode_file(path)


def test_content_is_that_of_the_sound_without_tags_and_container(tmp_path):
    from mutagen.flac import FLAC

    sound = audio.to_int16(make_song(1.0))
    for name in ("a.wav", "a.flac", "b.flac", "a.aiff"):
        soundfile.write(tmp_path / name, sound, RATE, subtype="PCM_16")
    tags = FLAC(tmp_path / "b.flac")
    tags["artist"] = ["Larry Heard"]
    tags.save()
    contents = {read_content(tmp_path / n)[1] for n in ("a.wav", "a.flac", "b.flac", "a.aiff")}
    assert len(contents) == 1
    for name, artist in (("a.mp3", "A"), ("b.mp3", "Larry Heard")):
        write_file(tmp_path / name, make_song(1.0), tags={"artist": artist})
    assert read_content(tmp_path / "a.mp3") == read_content(tmp_path / "b.mp3")
    assert read_content(tmp_path / "a.mp3")[1] not in contents


def test_a_pipe_a_folder_and_a_playlist_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="not a regular file"):
        decoding.decode_file(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match="a folder"):
        decoding.decode_file(tmp_path / "folder.wav")
    (tmp_path / "list.mp3").write_bytes(b"\xef\xbb\xbf#EXTM3U\n#EXTINF:1\nhttp://localhost/\n\0")
    with pytest.raises(ValueError, match="not audio"):
        decoding.decode_file(tmp_path / "list.mp3")


def test_a_name_that_is_not_utf8_is_opened(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.wav"
    soundfile.write(tmp_path / "a.wav", make_song(1.0), RATE)
    os.rename(tmp_path / "a.wav", path)
    assert len(decoding.decode_file(os.fsdecode(path))[0]) == RATE


@pytest.mark.parametrize("rate", [1, 100, 4_000_000])
def test_impossible_rates_are_refused(tmp_path, rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_song(0.5), RATE)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"broken header: {rate} Hz"):
        decoding.decode_file(path)


def test_a_codec_without_decoder_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, make_song(0.5), RATE)
    data = bytearray(path.read_bytes())
    data[20:22] = b"\x99\x99"  # the format
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no decoder for its codec"):
        decoding.decode_file(path)


@pytest.mark.parametrize("spike", [100.0, -1e29])
def test_a_spike_is_refused_as_damage(tmp_path, spike):
    song = make_song(6.0)
    song[5 * RATE, 1] = spike
    soundfile.write(tmp_path / "a.wav", song, RATE, "FLOAT")
    with pytest.raises(ValueError, match=r"a sample of (100|1e\+29) after 4\.1 s"):
        decoding.decode_file(tmp_path / "a.wav")


def test_whole_numbers_that_are_stored_as_floats_are_read(tmp_path):
    song = make_song(2.0) * 32768
    soundfile.write(tmp_path / "a.wav", song, RATE, "FLOAT")
    np.testing.assert_array_equal(decoding.decode_file(tmp_path / "a.wav")[0], song)


def test_only_the_beginning_is_decoded_for_a_prompt(tmp_path):
    path = tmp_path / "a.flac"
    write(path, make_song(12.0))
    whole = audio.load_audio(path, 22050).samples
    part = audio.load_audio(path, 22050, max_seconds=3.0).samples
    np.testing.assert_array_equal(part, whole[: 3 * 22050])
