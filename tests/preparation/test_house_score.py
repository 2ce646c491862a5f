"""The house corpus does not repeat itself: keys, patterns, layers and transitions are varied."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from jukejax.analysis.chroma import compute_chroma
from jukejax.data.sections import plan_sections
from jukejax.preparation.house import studio
from jukejax.preparation.house.bass import write_bar
from jukejax.preparation.house.harmony import QUALITIES
from jukejax.preparation.house.transitions import plan_transitions

SAMPLE_RATE = 44_100
TONIC_THIRDS = {"minor": 3, "major": 4}
PATTERNS = ("stab_rhythms", "bass_rhythms", "hat_rhythms", "perc_rhythms", "shaker_rhythms")


@pytest.fixture(scope="module")
def scores():
    return [studio.compose(i) for i in range(400)]


@pytest.fixture(scope="module")
def long_scores():
    return [studio.compose(i, seconds=seconds) for i in range(40) for seconds in (100, 180, 600)]


def first_bars(score):
    """Returns the number of the first bar of each section."""
    return [bar for bar, (_, i, _) in enumerate(score.bars) if i == 0]


def play_instrumental(score):
    return sum(np.atleast_2d(bus).mean(0) for _, bus in studio.play_instruments(score))


def test_no_two_of_400_tracks_have_the_same_harmony_drums_or_bass(scores):
    drums = [
        (s.artist.hat_rhythms, s.artist.perc_rhythms, s.artist.clap_rhythms, s.artist.kit)
        for s in scores
    ]
    basses = [s.artist.bass_rhythms for s in scores]
    harmonies = [(s.harmony, s.root) for s in scores]
    assert len(set(drums)) == 400
    assert len(set(basses)) > 390
    assert len(set(harmonies)) > 380
    assert len(set(zip(harmonies, drums, basses, strict=True))) == 400
    assert max(Counter(s.harmony for s in scores).values()) < 8


def test_a_quarter_of_the_tracks_is_in_a_major_key(scores):
    modes = Counter(score.harmony.mode for score in scores)
    assert 0.2 < modes["major"] / 400 < 0.3
    assert {score.root for score in scores} == set(range(12))


def test_the_chords_establish_the_key(scores):
    on_one = []
    for score in scores:
        chords = score.harmony.chords
        tonic = {TONIC_THIRDS[score.harmony.mode], 7}
        assert any(degree == 0 and tonic <= set(QUALITIES[quality]) for degree, quality in chords)
        phrases = range(0, len(chords), 8)  # of four bars
        on_one.append(np.mean([chords[k][0] == 0 for k in phrases]))
    assert np.mean(on_one) > 0.75


def test_chords_last_half_a_bar_one_bar_or_two(scores):
    lengths = Counter()
    for score in scores:
        chords = score.harmony.chords
        changes = [k for k in range(len(chords)) if chords[k] != chords[k - 1]]
        lengths[int(np.gcd.reduce([*changes, len(chords)]))] += 1
    assert min(lengths[1], lengths[2], lengths[4]) > 20
    assert lengths[2] > lengths[1]
    assert lengths[2] > lengths[4]


@pytest.mark.parametrize("index", [0, 1, 8, 22])  # minor, major, major, major
def test_the_third_of_the_key_is_audible(index):
    score = studio.compose(index, seconds=16.0)
    other = {"minor": 4, "major": 3}[score.harmony.mode]
    chroma = compute_chroma(play_instrumental(score), SAMPLE_RATE).harmony.sum(0)
    third = TONIC_THIRDS[score.harmony.mode]
    assert chroma[(score.root + third) % 12] > 1.5 * chroma[(score.root + other) % 12]


def test_every_chord_begins_with_its_root_in_the_bass(scores):
    for score in scores:
        roots, fifths = 0, 0
        for bar in range(len(score.bars)):
            notes = write_bar(score, bar, score.artist.bass_rhythms)
            for half in (0, 1):
                degree, _ = score.chord(bar, half)
                played = [
                    (note - score.root - degree) % 12 for at, note in notes if at // 8 == half
                ]
                is_new = half == 0 or score.chord(bar, 0) != score.chord(bar, 1)
                assert not played or played[0] == 0 or not is_new
                roots += played.count(0)
                fifths += len(played) - played.count(0)
        assert roots > 1.5 * fifths


@pytest.mark.parametrize("index", [0, 5, 7])  # basses of few harmonics and long notes
def test_the_root_is_the_strongest_note_of_the_bass(index):
    score = studio.compose(index, seconds=16.0)
    bass = dict(studio.play_instruments(score))["bass"]
    hertz = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)
    are_roots = []
    for bar in (bar for bar in range(len(score.bars)) if score.plays("bass", bar)):
        for half in (0, 1):
            degree, _ = score.chord(bar, half)
            sound = bass[score.at(bar, 8 * half) : score.at(bar, 8 * half + 8)]
            power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
            power[(hertz < 45.0) | (hertz > 190.0)] = 0.0
            pitch = 69 + 12 * np.log2(hertz[np.argmax(power)] / 440.0)
            are_roots.append(round(pitch) % 12 == (score.root + degree) % 12)
    assert len(are_roots) >= 6
    assert np.mean(are_roots) > 0.7


def test_sections_are_multiples_of_four_bars_in_tracks_that_are_long_enough():
    for bars in range(21, 330):
        plan = plan_sections(bars, np.random.RandomState(bars))
        assert all(count % 4 == 0 for name, count in plan if name != "outro")
        assert sum(count for _, count in plan) == bars
        assert plan[-1][0] == "outro"
        assert sum(name == "drop" for name, _ in plan) >= 2


def test_layers_change_every_four_bars(long_scores):
    for score in long_scores:
        layers = score.arrangement.layers
        for bar, (_, i, _) in enumerate(score.bars):
            if i > 0 and i % 4 == 0:
                assert layers[bar] != layers[bar - 1]


def test_patterns_change_every_eight_bars(scores):
    for score in scores:
        for name in PATTERNS:
            patterns = getattr(score.artist, name)
            assert all(patterns[k] != patterns[k - 1] for k in range(len(patterns)))
    for score in scores[:20]:
        for bar, (_, i, _) in enumerate(score.bars):
            assert score.phrases[bar] - score.phrases[bar - 1] == (i % 8 == 0) or bar == 0


def freeze(score):
    """Returns the score with the layers and patterns of its first drop throughout."""
    arrangement, artist = score.arrangement, score.artist
    drop = next(bar for bar, (section, _, _) in enumerate(score.bars) if section == "drop")
    patterns = {name: getattr(artist, name)[:1] for name in (*PATTERNS, "clap_rhythms", "hooks")}
    layers = [arrangement.layers[drop]] * len(score.bars)
    frozen = replace(arrangement, layers=layers, moves=[0.0] * len(score.bars))
    return replace(score, arrangement=frozen, artist=replace(artist, **patterns))


def measure_changes(score):
    """Returns the mean distance between bars of drops 4 bars apart, and 8 bars apart."""
    mono = play_instrumental(score)

    def describe(bar):
        sound = mono[score.at(bar, 0) : score.at(bar + 1, 0)]
        _, _, spectra = signal.stft(sound, nperseg=1024, boundary=None, padded=False)
        power = np.log1p(1e3 * np.abs(spectra) ** 2)
        bands = [band.mean(0) for band in np.array_split(power[2:400], 24)]
        sixteenths = np.array_split(np.stack(bands), 16, axis=1)
        return np.concatenate([sixteenth.mean(1) for sixteenth in sixteenths])

    changes = {4: [], 8: []}
    for first in first_bars(score):
        section, _, count = score.bars[first]
        if section == "drop":
            for lag, distances in changes.items():
                for bar in range(first, first + count - lag, 4):
                    distances.append(np.linalg.norm(describe(bar) - describe(bar + lag)))
    return np.mean(changes[4]), np.mean(changes[8])


@pytest.mark.parametrize("index", range(3))
def test_changes_every_four_and_eight_bars_are_audible(index):
    score = studio.compose(index, seconds=100.0)
    fours, eights = measure_changes(score)
    still_fours, still_eights = measure_changes(freeze(score))
    assert fours > 1.5 * still_fours
    assert eights > 2.0 * still_eights


def test_a_riser_leads_into_every_drop_and_a_crash_opens_it(long_scores):
    spans, kinds = Counter(), Counter()
    for score in long_scores:
        transitions = plan_transitions(score)
        kinds.update(kind for kind, _, _ in transitions)
        for first in first_bars(score):
            if score.bars[first][0] == "drop":
                assert ("crash", first, 1) in transitions
                leading = [t for t in transitions if t.bar + t.span == first]
                assert "riser" in {t.kind for t in leading}
                spans.update((t.kind, t.span) for t in leading if t.kind != "crash")
        assert all(score.bars[t.bar][2] >= t.span for t in transitions)
    assert {span for kind, span in spans if kind == "riser"} == {1, 2, 4}
    assert {span for kind, span in spans if kind == "roll"} == {1, 2, 4}
    assert set(kinds) == {"riser", "roll", "crash", "downlifter"}


def test_bass_chords_and_hook_have_their_level_below_the_kick(scores):
    def has_hook(score, section):
        bars = range(len(score.bars))
        return any(score.plays("hook", b) and score.bars[b][0] == section for b in bars)

    hidden = next(s for s in scores if has_hook(s, "break") and not has_hook(s, "drop"))
    for score, place in ((scores[0], "drop"), (scores[1], "drop"), (hidden, "break")):
        buses = dict(studio.play_instruments(score))

        def measure(name, section, score=score, buses=buses):
            parts = []
            for bar, (where, _, _) in enumerate(score.bars):
                if where == section and (name != "hook" or score.plays("hook", bar)):
                    parts.append(buses[name][..., score.at(bar, 0) : score.at(bar + 1, 0)])
            return 10 * np.log10(np.mean(np.square(np.concatenate(parts, axis=-1))))

        kick = measure("kick", "drop")
        levels = {"bass": "drop", "chords": "drop", "hook": place}
        for name, section in levels.items():
            low, high = studio.BALANCE[name]
            # Rests between the notes are measured here.
            assert low - 2.5 < measure(name, section) - kick < high + 0.5
