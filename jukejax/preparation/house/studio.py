"""The composition and the mix of a track of the house corpus."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from jukejax.data.lrc import TimedLyrics
from jukejax.preparation.house import drums, synth
from jukejax.preparation.house.arrangement import arrange
from jukejax.preparation.house.artists import ROSTER
from jukejax.preparation.house.bass import play_bass
from jukejax.preparation.house.chords import play_pads, play_stabs
from jukejax.preparation.house.harmony import draw_harmony
from jukejax.preparation.house.hook import play_hook
from jukejax.preparation.house.lead import play_vocal, sing_alone, write_lyrics
from jukejax.preparation.house.percussion import play_drums
from jukejax.preparation.house.score import Score
from jukejax.preparation.house.style import Artist
from jukejax.preparation.house.synth import SAMPLE_RATE
from jukejax.preparation.house.transitions import place_kicks
from jukejax.preparation.house.variation import vary_artist

ARTISTS = tuple(artist.name for artist in ROSTER)
GENRES = tuple(sorted({genre for artist in ROSTER for genre in artist.genres}))
KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

SHORTEST, LONGEST = 4.0, 600.0  # seconds: two bars; 2.8 GB of memory
SLOWEST, FASTEST = 90.0, 160.0  # BPM
PEAK = 0.95
# Lowest and highest level in the drops, in dB above that of the kick.
BALANCE = {"bass": (-4.0, -1.5), "chords": (-7.5, -4.5), "hook": (-10.0, -7.0)}
LAYER_OF = {"chords": "stab"}  # layer that decides where a bus is measured, if not its name
PRESENCE = (3200.0, 0.5)  # center in Hz and Q of a band that is raised
BAND_GAINS = {"drums": 0.7, "chords": 2.0, "hook": 1.2}  # of that band, added to 1


@dataclass(frozen=True)
class HouseTrack:
    """A track with its labels and stems, which are multiples of 1/32768, at 44.1 kHz.

    Attributes:
      sections: (name, start in seconds), in order; each lasts until the next or the end.
      lyrics: the sung syllables, a line for each bar, with the time of each.
    """

    name: str
    artist: str
    genre: str
    bpm: float
    key: str
    instrumental: np.ndarray  # float32 [time, 2]
    vocal: np.ndarray  # float32 [time, 2]
    sections: tuple[tuple[str, float], ...]
    lyrics: TimedLyrics

    @property
    def mix(self) -> np.ndarray:
        """Returns the sum of the stems, float32 [time, 2]; its peak is at most 0.95."""
        return self.instrumental + self.vocal


def _ducking(kicks: list[int], length: int, depth: float) -> np.ndarray:
    """Returns the side chain's gain [time], which falls at each kick and recovers in 0.32 s."""
    recovery = int(0.32 * SAMPLE_RATE)
    dip = np.minimum(1.0, 1.15 * (1.0 - np.arange(recovery) / recovery)) ** 2
    gain = np.ones(length)
    for start in kicks:
        ducked = gain[start : start + recovery]
        ducked[:] = 1.0 - depth * dip[: len(ducked)]
    return gain


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound * sound))) if sound.size else 0.0


def _balance_vocal(
    score: Score,
    vocal: np.ndarray,
    voicing: np.ndarray,
    instrumental: np.ndarray,
    rng: RandomState,
) -> np.ndarray:
    """Returns a gain [time] for a voice 6 to 8.8 dB below the instrumental in every sung section.

    Args:
      vocal, instrumental: [2, time].
      voicing: [time], see `singer.sing`.
    """
    gains, places = [], []
    first = 0
    for section, count in score.plan:
        start, end = score.at(first, 0), score.at(first + count, 0)
        is_sung = voicing[start:end] > 0.1
        if section in ("drop", "break") and is_sung.any():
            target = 10.0 ** (-rng.uniform(6.0, 8.8) / 20.0)
            level = _rms(instrumental[:, start:end][:, is_sung])
            gains.append(target * level / _rms(vocal[:, start:end][:, is_sung]))
            places.append(start)
        first += count
    if not gains:
        return np.zeros(score.length)
    # The gain changes within 50 ms between sections; echoes keep the gain of their section.
    gain = np.full(score.length, gains[0])
    for place, old_gain, new_gain in zip(places[1:], gains, gains[1:], strict=False):
        gain[place:] = new_gain
        ramp = gain[place : place + int(0.05 * SAMPLE_RATE)]
        ramp[:] = np.linspace(old_gain, new_gain, len(ramp))
    return gain


def _measure_level(score: Score, bus: np.ndarray, layer: str) -> float:
    """Returns the RMS of a bus where it sounds: in the drops, or elsewhere if it rests in them."""
    bars = [bar for bar in range(len(score.bars)) if score.plays(layer, bar)]
    bars = [bar for bar in bars if score.bars[bar][0] == "drop"] or bars
    energy, count = 0.0, 0
    for bar in bars:
        sound = bus[..., score.at(bar, 0) : score.at(bar + 1, 0)]
        sounding = np.abs(np.atleast_2d(sound)).max(0) > 1e-6
        energy += float(np.mean(np.atleast_2d(sound * sound), axis=0).sum())
        count += int(sounding.sum())
    return float(np.sqrt(energy / count)) if count else 0.0


def _play_kicks(score: Score, starts: Sequence[int], rng: RandomState) -> np.ndarray:
    """Plays a kick at each of `starts`, mono [time]."""
    bus = np.zeros(score.length)
    sound = drums.kick(score.artist.kit, score.stream("kick"))
    for start in starts:
        synth.add(bus, sound, start, 0.62 * rng.uniform(0.96, 1.0))
    return bus


def _play_chords(score: Score) -> np.ndarray:
    chords = play_stabs(score)
    chords += play_pads(score)
    return chords


_PLAYERS = {"bass": play_bass, "chords": _play_chords, "hook": play_hook}


def play_instruments(score: Score) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name and the bus of each instrument, at its level in the mix, and the room's.

    Buses are [2, time] or [time]. The caller may change them.
    """
    rng = score.stream("balance")
    starts = place_kicks(score)
    duck = _ducking(starts, score.length, score.artist.duck)
    kick = _play_kicks(score, starts, rng)
    drops = [bar for bar, (section, _, _) in enumerate(score.bars) if section == "drop"]
    reference = _rms(np.concatenate([kick[score.at(b, 0) : score.at(b + 1, 0)] for b in drops]))
    yield "kick", kick
    bus, room = play_drums(score)
    synth.add_band(bus, *PRESENCE, BAND_GAINS["drums"])
    yield "drums", bus
    for name, play in _PLAYERS.items():
        bus = play(score)
        bus *= duck
        if name in BAND_GAINS:
            synth.add_band(bus, *PRESENCE, BAND_GAINS[name])
        low, high = BALANCE[name]
        target = reference * 10.0 ** (rng.uniform(low, high) / 20.0)
        if level := _measure_level(score, bus, LAYER_OF.get(name, name)):
            bus *= target / level
        if bus.ndim == 2:
            room += 0.3 * bus[0]
            room += 0.3 * bus[1]
        yield name, bus
    bus = synth.reverb(room, decay_seconds=1.3, damping=6000.0)
    bus *= 0.5
    yield "room", bus


def _mix(score: Score) -> tuple[np.ndarray, np.ndarray, TimedLyrics]:
    """Plays the score; returns its stems [time, 2] as 16-bit integers, and its lyrics."""
    rng = score.stream("mix")
    instrumental = np.zeros((2, score.length))
    for _, bus in play_instruments(score):
        instrumental += bus
    instrumental *= 1.3
    instrumental = synth.soft_clip(instrumental)
    instrumental -= np.mean(instrumental, axis=-1, keepdims=True)
    vocal, voicing, syllables = play_vocal(score)
    vocal *= _balance_vocal(score, vocal, voicing, instrumental, rng)
    # A random level for the track, as records differ in their mastering level.
    both = instrumental + vocal
    peak = max(both.max(), -both.min())
    del both
    scale = 32768.0 * PEAK * rng.uniform(0.8, 0.99) / peak
    for sound in (instrumental, vocal):
        sound *= scale
        synth.fade_ends(sound, 0.002, 0.08)
        np.rint(sound, out=sound)
    return instrumental.T, vocal.T, write_lyrics(score, syllables)


def _record_solo(score: Score) -> tuple[np.ndarray, np.ndarray, TimedLyrics]:
    """Plays the singer alone; returns stems and lyrics as `_mix` does."""
    vocal, _, syllables = sing_alone(score)
    vocal *= 32768.0 * PEAK * score.stream("mix").uniform(0.8, 0.99) / np.abs(vocal).max()
    np.rint(vocal, out=vocal)
    return np.zeros_like(vocal).T, vocal.T, write_lyrics(score, syllables)


def make_stream(seed: int, index: int, name: str) -> RandomState:
    """Returns the random generator of one instrument, or another part, of a track."""
    return RandomState([seed, index, zlib.crc32(name.encode())])


def compose(
    index: int,
    *,
    seconds: float = 45.0,
    seed: int = 0,
    tempo: tuple[float, float] | None = None,
    artist: Artist | None = None,
) -> Score:
    """Composes one track without playing it; see `track`."""
    rng = make_stream(seed, index, "score")
    artist = artist or ROSTER[index % len(ROSTER)]
    bpm = round(10 * rng.uniform(*(tempo or artist.tempo))) / 10
    style = vary_artist(artist, rng)
    bars = max(2, round(seconds * bpm / 240.0))
    return Score(
        artist=style,
        bpm=bpm,
        root=int(rng.randint(12)),
        harmony=draw_harmony(artist.moods, artist.color, artist.major, rng),
        arrangement=arrange(bars, style.arpeggio > 0.0, rng),
        stream=lambda player: make_stream(seed, index, player),
    )


def track(
    index: int,
    *,
    seconds: float = 45.0,
    seed: int = 0,
    tempo: tuple[float, float] | None = None,
    artist: Artist | None = None,
    solo: bool = False,
) -> HouseTrack:
    """Composes and plays one track, the same bytes for the same arguments on every machine.

    Args:
      index: of the track in the corpus; the eight artists alternate.
      seconds: approximate length; the track has the nearest whole number of bars (of about 2 s).
      seed: of the corpus.
      tempo: lowest and highest BPM; None: those of each artist.
      artist: of the track, such as `guest.GUEST`; None: by the index.
      solo: the singer alone, in every bar, without instruments; see `lead.sing_alone`.

    Raises:
      ValueError: an argument is out of range.
    """
    if index < 0 or not 0 <= seed < 2**32:
        raise ValueError(f"house track {index} of seed {seed}: both must be 0 or more, seed < 2^32")
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(
            f"house tracks last {SHORTEST:g} to {LONGEST:g} seconds, got {seconds:g}; "
            "change --house_seconds"
        )
    low, high = tempo or (SLOWEST, FASTEST)
    if not SLOWEST <= low <= high <= FASTEST:
        raise ValueError(
            f"house tracks have {SLOWEST:g} to {FASTEST:g} BPM, got {low:g} to {high:g}; change "
            "--house_bpm"
        )
    score = compose(index, seconds=seconds, seed=seed, tempo=tempo, artist=artist)
    instrumental, vocal, lyrics = _record_solo(score) if solo else _mix(score)
    starts = np.cumsum([0, *(count for _, count in score.plan)])
    return HouseTrack(
        name=f"house-{index:04d}",
        artist=score.artist.name,
        genre=score.artist.genres[0],
        bpm=score.bpm,
        key=f"{KEYS[score.root]} {score.harmony.mode}",
        instrumental=(instrumental / 32768.0).astype(np.float32),
        vocal=(vocal / 32768.0).astype(np.float32),
        sections=tuple(
            (name, score.at(int(bar), 0) / SAMPLE_RATE)
            for (name, _), bar in zip(score.plan, starts[:-1], strict=True)
        ),
        lyrics=lyrics,
    )
