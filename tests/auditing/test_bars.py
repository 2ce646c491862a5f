"""Detection and false-alarm rates of the audit for damaged excerpts; prints them.

    JUKEJAX_MUSIC=/tmp/music python -m pytest -s -n 0 tests/auditing/test_bars.py

$JUKEJAX_MUSIC: a folder that shared/music/get_music.sh filled; $JUKEJAX_VQVAE: a trained VQ-VAE,
whose level 0 encodes and decodes excerpts as a further damage.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jukejax.analysis import verdict
from jukejax.auditing.corpus import AudioCorpus
from jukejax.data import audio, corpus, vocabularies
from jukejax.data.writer import DatasetWriter
from jukejax.preparation import house

RATE, SECONDS, TRIALS = 44100, 3, 100
MUSIC = Path(os.environ.get("JUKEJAX_MUSIC", "/tmp/music"))
KINDS = (".ogg", ".opus", ".flac", ".mp3")

pytestmark = pytest.mark.slow


def softer(sound, random):
    del random
    return sound * 10 ** (-12 / 20)


def noisy(sound, random):
    noise = random.randn(len(sound))
    return sound + noise * np.sqrt(np.mean(sound**2) / np.mean(noise**2)) * 10 ** (-10 / 20)


def mp3(sound, random):
    """Through MP3 at 64 kbit/s."""
    del random
    file = io.BytesIO()
    how = {"bitrate_mode": "CONSTANT", "compression_level": 0.9}
    soundfile.write(file, sound, RATE, format="MP3", subtype="MPEG_LAYER_III", **how)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def combine_damages(sound, random):
    return mp3(noisy(softer(sound, random), random), random)


def through_vqvae(codec):
    def damage(sound, random):
        del random
        return codec.decode(codec.encode(sound[:, None].astype(np.float32))[0], 0)[:, 0]

    return damage


def damages():
    """Returns {name: (sound, random) -> sound}; excerpts begin at any sample in all of them."""
    by_name = {"clean": lambda sound, random: sound, "-12 dB": softer, "10 dB SNR": noisy}
    by_name |= {"MP3 64 kbit/s": mp3, "all three": combine_damages}
    if os.environ.get("JUKEJAX_VQVAE"):
        from jukejax.inference.codec import Codec

        by_name["VQ-VAE level 0"] = through_vqvae(Codec.load(os.environ["JUKEJAX_VQVAE"]))
    return by_name


def real_music():
    """Returns float [time] of up to 100 s each."""
    files = sorted(path for path in MUSIC.rglob("*") if path.suffix in KINDS)
    # remasters of others are copies; so is a soundtrack in two formats
    files = [f for f in files if f.stat().st_size > 1_000_000 and "_enhanced" not in f.stem]
    if len(files) < 40:
        pytest.skip(f"{len(files)} real tracks in {MUSIC}; shared/music/get_music.sh fetches more")
    return [audio.load_audio(path).samples[: 100 * RATE].mean(axis=1) for path in files]


def house_music():
    """Returns tracks of the eight artists, six of each."""
    return [house.track(i, seconds=40.0).instrumental.mean(axis=1) for i in range(48)]


def write_corpus(folder, sounds):
    """Writes half the sounds as training tracks, a quarter as held-out ones; the rest is unseen."""
    vocabulary = vocabularies.Vocabulary.build(["a"], ["b"])
    known, unseen = {}, []
    with DatasetWriter(folder, kind="audio", vocabulary=vocabulary, separator="none") as writer:
        for i, sound in enumerate(sounds):
            if i % 4 == 3:
                unseen.append(sound)
                continue
            track = corpus.Track(f"t{i}", "a", ("b",), content=str(i))
            split = "heldout" if i % 4 == 0 else "train"
            writer.add(split, track, audio=audio.to_int16(sound)[:, None])
            if split == "train":
                known[len(known)] = sound
    return known, unseen


def excerpt(sound, random):
    start = random.randint(len(sound) - SECONDS * RATE)
    return sound[start : start + SECONDS * RATE]


def find_original(recordings, sound):
    """Returns the track that a sound is a copy of, by the audit, or None."""
    evidence = recordings.find_evidence(sound[:, None])
    seconds = verdict.judge_seconds(
        {k: e.values for k, e in evidence.items()}, recordings.thresholds
    )
    if verdict.judge_overall(seconds) != verdict.COPIED:
        return None
    best = max(range(len(seconds)), key=lambda s: seconds[s].reach)
    return int(evidence[seconds[best].because].track[best])


def measure(folder, sounds):
    """Returns {name of the damage: (detected, false alarms)} of `TRIALS` each."""
    known, unseen = write_corpus(folder, sounds)
    recordings = AudioCorpus(corpus.open_dataset(folder), folder / "audit")
    for kind, limit in recordings.thresholds.items():
        print(f"{kind}: similar {limit.similar:.3f}, copied {limit.copied:.3f}")
    random, results = np.random.RandomState(0), {}
    for name, damage in damages().items():
        detected = alarms = 0
        for _ in range(TRIALS):
            track = random.randint(len(known))
            original = find_original(recordings, damage(excerpt(known[track], random), random))
            detected += original == track
            other = unseen[random.randint(len(unseen))]
            alarms += find_original(recordings, damage(excerpt(other, random), random)) is not None
        results[name] = detected, alarms
        print(
            f"{name}: found {detected} of {TRIALS}, false alarms {alarms} of {TRIALS}", flush=True
        )
    return results


@pytest.mark.parametrize("music", [house_music, real_music])
def test_excerpts_of_3_seconds_are_found_and_unseen_music_is_not(music, tmp_path):
    results = measure(tmp_path, music())
    assert min(detected for detected, _ in results.values()) >= 95
    assert sum(alarms for _, alarms in results.values()) < 0.01 * TRIALS * len(results)
