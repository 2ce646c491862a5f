"""The house corpus agrees with its labels (tempo, beats, sections, stems) and is reproducible."""

import hashlib

import numpy as np
import pytest
from scipy import signal

from jukejax.data.sections import plan_sections
from jukejax.preparation import house
from jukejax.preparation.house import synth
from tests.support.house_tracks import SECONDS, house_track

SAMPLE_RATE = 44_100


@pytest.fixture(scope="module")
def tracks():
    """One track by each artist."""
    return [house_track(i) for i in range(len(house.ARTISTS))]


def find_sections(track, wanted):
    """(start, end) in samples of each section with that name."""
    ends = [start for _, start in track.sections[1:]] + [len(track.mix) / SAMPLE_RATE]
    return [
        (round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        for (name, start), end in zip(track.sections, ends, strict=True)
        if name == wanted
    ]


def flux(mono, hop=128):
    """Onset strength: the rise of the log spectrum, one value for each `hop` samples."""
    _, _, spectra = signal.stft(mono, nperseg=1024, noverlap=1024 - hop, padded=False)
    level = np.log1p(1000.0 * np.abs(spectra))
    return np.maximum(np.diff(level, axis=1), 0.0).sum(0)


def rms(sound):
    return np.sqrt(np.mean(np.square(sound, dtype=np.float64)))


def integers(track):
    stems = np.stack([track.instrumental, track.vocal])
    return np.rint(stems * 32768).astype("<i2")


def test_bytes_of_a_track_are_pinned():
    digest = hashlib.sha256(integers(house.track(0, seconds=8.0)).tobytes()).hexdigest()
    assert digest == "4d70cdfa301a009b789a5b9a338d9b0140add7eace28f31cd3430e98b58a114e"


def test_stems_lie_exactly_on_the_16_bit_grid(tracks):
    for track in tracks:
        assert track.instrumental.dtype == track.vocal.dtype == np.float32
        np.testing.assert_array_equal(integers(track)[0], track.instrumental * 32768)
        np.testing.assert_array_equal(integers(track)[1], track.vocal * 32768)


def test_mix_is_the_sum_of_the_stems_and_does_not_clip(tracks):
    for track in tracks:
        np.testing.assert_array_equal(track.mix, track.instrumental + track.vocal)
        assert 0.5 < np.abs(track.mix).max() <= 0.95
        assert np.abs(track.mix.mean(0)).max() < 1e-4
        assert -20.0 < 20 * np.log10(rms(track.mix)) < -9.0


def test_left_and_right_differ(tracks):
    for track in tracks:
        side = track.mix[:, 0] - track.mix[:, 1]
        assert 0.05 < rms(side) / rms(track.mix) < 1.0


def test_measured_tempo_agrees_with_the_label_within_one_percent(tracks):
    candidates = np.arange(110.0, 135.0, 0.05)
    for track in tracks:
        onsets = flux(track.mix.mean(1))
        onsets -= onsets.mean()
        spectrum = np.abs(np.fft.rfft(onsets, 4 * len(onsets))) ** 2
        correlation = np.fft.irfft(spectrum)[: len(onsets)]
        lags = 60.0 / candidates * SAMPLE_RATE / 128
        places = np.arange(len(onsets))
        score = sum(np.interp(beats * lags, places, correlation) for beats in (1, 2, 4, 8))
        assert candidates[np.argmax(score)] == pytest.approx(track.bpm, rel=0.01)
        assert 115.0 <= track.bpm <= 130.0


def test_drops_have_a_kick_on_every_beat(tracks):
    for track in tracks:
        low = synth.lowpass(track.instrumental.mean(1).astype(np.float64), 150.0)
        kick = low[:4000] / np.linalg.norm(low[:4000])  # the intro begins with one, nearly alone
        beat = 60.0 / track.bpm * SAMPLE_RATE
        for start, end in find_sections(track, "drop"):
            for k in range(round((end - start) / beat)):
                at = start + round(k * beat)
                segment = low[at : at + 4000]
                assert segment @ kick / np.linalg.norm(segment) > 0.7
                assert 0.5 < rms(segment) / rms(low[:4000]) < 2.0


def test_claps_fall_on_two_and_four(tracks):
    for track in tracks:
        mono = track.instrumental.mean(1).astype(np.float64)
        band = synth.lowpass(synth.highpass(synth.highpass(mono, 2500.0), 2500.0), 5000.0)
        beat = 60.0 / track.bpm * SAMPLE_RATE
        start, end = find_sections(track, "drop")[0]
        energy = np.zeros(4)
        for k in range(round((end - start) / beat)):
            at = start + round(k * beat)
            energy[k % 4] += rms(band[at : at + 3000]) ** 2
        assert min(energy[1], energy[3]) > 1.5 * max(energy[0], energy[2])


def test_the_side_chain_ducks_the_chords_under_each_kick(tracks):
    # Between 300 and 3000 Hz kick and hats are weak; chords, bass and clap dominate.
    track = tracks[3]  # the artist with the second deepest side chain
    band = synth.lowpass(synth.highpass(track.instrumental.mean(1).astype(float), 300.0), 900.0)
    beat = 60.0 / track.bpm * SAMPLE_RATE
    start, end = find_sections(track, "drop")[0]
    early, late = [], []
    for k in range(0, round((end - start) / beat), 2):  # beats without a clap
        at = start + round(k * beat)
        early.append(rms(band[at + int(0.12 * beat) : at + int(0.3 * beat)]))
        late.append(rms(band[at + int(0.7 * beat) : at + int(0.95 * beat)]))
    assert np.mean(early) < 0.75 * np.mean(late)


def test_sections_come_in_order_and_cover_the_track_in_whole_bars(tracks):
    for track in tracks:
        names = [name for name, _ in track.sections]
        assert names == ["intro", "build", "drop", "break", "outro"]
        bar = 240.0 / track.bpm
        starts = np.array([start for _, start in track.sections] + [len(track.mix) / SAMPLE_RATE])
        assert starts[0] == 0.0
        np.testing.assert_allclose(starts / bar, np.rint(starts / bar), atol=1e-3)
        assert np.all(np.diff(starts) > 0.99 * bar)
        assert abs(starts[-1] - SECONDS) <= bar / 2 + 1e-3


def test_the_sections_of_every_length_sum_to_it():
    for bars in range(2, 330):
        plan = plan_sections(bars)
        assert sum(count for _, count in plan) == bars
        assert all(count >= 1 for _, count in plan)
        assert plan[0][0] == "intro"
        assert "drop" in dict(plan)


def test_a_track_of_45_seconds_has_two_drops():
    names = [name for name, _ in plan_sections(22)]
    assert names == ["intro", "build", "drop", "break", "drop", "outro"]


def test_the_voice_is_in_drop_and_break_only_and_3_to_9_db_below_the_instrumental(tracks):
    for track in tracks:
        start, _ = find_sections(track, "drop")[0]
        assert not track.vocal[: start - 100].any()
        for first, last in find_sections(track, "drop") + find_sections(track, "break"):
            frames = (last - first) // 2205
            voice, band = (
                stem[first : first + frames * 2205].reshape(frames, -1).astype(np.float64)
                for stem in (track.vocal, track.instrumental)
            )
            sung = np.square(voice).mean(1) > 0.01 * np.square(voice).mean(1).max()
            assert sung.mean() > 0.2
            assert 3.0 < 20 * np.log10(rms(band[sung]) / rms(voice[sung])) < 9.5


def test_the_voice_has_vibrato_and_formants():
    from jukejax.preparation.house.singer import FORMANTS, Syllable, Voice, sing

    voice = Voice(vibrato=0.4, vibrato_hz=5.5, breath=0.0)
    syllable = Syllable(start=0.0, length=1.9, note=45.0, onset="", vowel="a", end_vowel="a")
    sound, voicing = sing([syllable], voice, 2 * SAMPLE_RATE, np.random.RandomState(0))
    assert voicing.max() == pytest.approx(1.0)
    spectrum = np.abs(np.fft.rfft(sound[SAMPLE_RATE : SAMPLE_RATE + 32768] * np.hanning(32768)))
    hertz = np.fft.rfftfreq(32768, 1 / SAMPLE_RATE)
    first = hertz[np.argmax(np.where(hertz > 400, spectrum, 0))]
    assert abs(first - FORMANTS["a"][0]) < 120  # within a harmonic of the first formant
    # Vibrato: the instantaneous frequency of the fundamental swings by 0.4 semitones at 5.5 Hz.
    band = synth.lowpass(synth.bandpass(sound, 110.0, 3.0), 130.0, 2.0)
    phase = np.unwrap(np.angle(signal.hilbert(band)))
    pitch = np.diff(phase)[SAMPLE_RATE : SAMPLE_RATE + 32768] * SAMPLE_RATE / (2 * np.pi)
    swing = np.abs(np.fft.rfft((pitch - pitch.mean()) * np.hanning(32768)))
    assert hertz[np.argmax(swing[: int(20 / hertz[1])])] == pytest.approx(5.5, abs=1.4)


def measure_bands(track):
    """Shares of the drops' energy under 150 Hz, 2 kHz and 6 kHz, and above; [4]."""
    drops = [track.instrumental[first:last] for first, last in find_sections(track, "drop")]
    hertz, power = signal.welch(np.concatenate(drops).mean(1), SAMPLE_RATE, nperseg=8192)
    edges = np.searchsorted(hertz, (20, 150, 2000, 6000, 20000))
    shares = np.add.reduceat(power, edges)[:4]
    return shares / shares.sum()


def test_the_energy_of_the_drops_is_spread_over_the_bands_as_in_house(tracks):
    shares = np.stack([measure_bands(track) for track in tracks])
    assert np.all((shares[:, 0] > 0.4) & (shares[:, 0] < 0.8))
    assert np.all((shares[:, 1] > 0.15) & (shares[:, 1] < 0.5))
    assert np.all(shares[:, 2] > 0.005)
    assert np.all(shares[:, 3] > 0.01)
    assert 0.5 < shares[:, 0].mean() < 0.7
    assert 0.2 < shares[:, 1].mean() < 0.4


def test_tracks_artists_and_seeds_differ(tracks):
    assert tuple(track.artist for track in tracks) == house.ARTISTS
    assert len(house.ARTISTS) == 8
    assert {track.genre for track in tracks} <= set(house.GENRES)
    assert len({track.genre for track in tracks}) >= 4
    assert len({track.bpm for track in tracks}) >= 6
    assert len({track.name for track in tracks}) == len(tracks)
    same_artist, other_seed = house.track(8, seconds=8.0), house.track(0, seconds=8.0, seed=1)
    first = house.track(0, seconds=8.0)
    for other in (same_artist, other_seed):
        assert other.artist == first.artist
        shared = min(len(first.mix), len(other.mix))
        assert rms(first.mix[:shared] - other.mix[:shared]) > 0.5 * rms(first.mix)


def test_a_track_does_not_depend_on_earlier_tracks():
    alone = integers(house.track(5, seconds=4.0))
    house.track(4, seconds=4.0)
    np.testing.assert_array_equal(integers(house.track(5, seconds=4.0)), alone)


@pytest.mark.parametrize(
    ("index", "seconds", "seed", "message"),
    [
        (0, 1.0, 0, "4 to 600 seconds, got 1; change --house_seconds"),
        (0, float("nan"), 0, "4 to 600 seconds, got nan"),
        (-1, 45.0, 0, "house track -1 of seed 0"),
        (0, 45.0, -3, "seed -3"),
    ],
)
def test_impossible_requests_are_refused_in_one_line(index, seconds, seed, message):
    with pytest.raises(ValueError, match=message) as caught:
        house.track(index, seconds=seconds, seed=seed)
    assert "\n" not in str(caught.value)


def test_echo_equals_its_recursion_written_out():
    sound = np.random.RandomState(0).uniform(-1, 1, 50)
    slow = sound.copy()
    for n in range(7, 50):
        slow[n] += 0.6 * slow[n - 7]
    np.testing.assert_allclose(synth.echo(sound, 7, 0.6), slow, atol=1e-12)


def test_the_oscillator_has_the_given_pitch_and_harmonics():
    table = synth.wavetable(np.array([1.0, 0.0, 0.5]))
    sound = synth.oscillator(table, 441.0, 4410)
    time = synth.clock(4410)
    wanted = np.sin(2 * np.pi * 441 * time) + 0.5 * np.sin(2 * np.pi * 1323 * time)
    np.testing.assert_allclose(sound, wanted, atol=2e-5)
    np.testing.assert_allclose(
        synth.oscillator(table, np.full(4410, 441.0), 4410)[:-1], wanted[1:], atol=2e-5
    )


def test_the_guest_is_no_artist_of_the_corpus():
    track = house.track(3, seconds=6.0, artist=house.GUEST)
    assert track.artist == house.GUEST.name
    assert track.artist not in house.ARTISTS
    assert track.genre not in house.GENRES
    assert not np.array_equal(track.instrumental, house.track(3, seconds=6.0).instrumental)
