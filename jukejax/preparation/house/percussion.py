"""The percussion of a house track: the drum patterns of the score, fills, risers and crackle."""

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import drums, synth
from jukejax.preparation.house.score import Score, parse_rhythm
from jukejax.preparation.house.synth import SAMPLE_RATE

MAX_JITTER = 60  # samples, 1.4 ms: timing error of a hand
ROOM_SEND = 0.6  # gain of claps, percussion and crashes in the room's input


def play_drums(score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Plays the drums and percussion except the kick.

    Returns:
      The bus [2, time], and the input signal of the room [time].
    """
    player = _DrumPlayer(score)
    for bar in range(len(score.bars)):
        player.play_bar(bar)
    bus, rng = player.bus, player.rng
    for start, end in _find_risers(score):
        synth.add(bus, drums.riser(rng, end - start), start, 0.3)
    if score.artist.crackle:
        _add_crackle(bus, rng, score.artist.crackle)
    return bus, player.room


class _DrumPlayer:
    """Plays the drums bar by bar.

    Attributes:
      bus: [2, time], the stereo mix.
      room: [time], the input signal of the room.
    """

    def __init__(self, score: Score):
        self.score = score
        self.rng = rng = score.stream("drums")
        self.kit = drums.render(score.artist.kit, rng)
        self.bus = np.zeros((2, score.length))
        self.room = synth.silence(score.length)
        rhythms = score.artist.perc_rhythms
        self._perc_rhythms = [rhythms[i] for i in rng.permutation(len(rhythms))]

    def play_bar(self, bar: int) -> None:
        """Plays the drums of one bar."""
        score, artist = self.score, self.score.artist
        section, i, _ = score.bars[bar]
        if i == 0 and bar > 0 and section in ("drop", "break", "outro"):
            self._hit("crash", bar, 0, 0.35, 0.2)
        if score.plays("clap", bar):
            for beat in (4, 12):
                self._hit("clap", bar, beat, 0.8)
        if score.plays("hats", bar):
            for beat in (2, 6, 10, 14):
                self._hit("open", bar, beat, 0.42, -0.15)
            if section != "intro" or i > 0:
                for sixteenth, level in parse_rhythm(artist.hat_rhythm):
                    self._hit("hat", bar, sixteenth, 0.36 * level, 0.25)
        if score.plays("ride", bar):
            for beat in (0, 4, 8, 12):
                self._hit("ride", bar, beat, 0.16, 0.4)
        if score.plays("shaker", bar):
            for sixteenth in range(16):
                level = (0.5, 0.3, 1.0, 0.35)[sixteenth % 4]
                self._hit("shaker", bar, sixteenth, 0.3 * artist.shaker * level, -0.4)
        if score.plays("perc", bar):
            rhythm = self._perc_rhythms[bar // 8 % len(self._perc_rhythms)]
            for sixteenth, level in parse_rhythm(rhythm):
                take = self.rng.randint(3)
                self._hit("perc", bar, sixteenth, 0.36 * level, 0.3 * (take - 1), take)
        if score.is_turn(bar) and section not in ("intro", "outro"):
            self._play_fill(bar)

    def _play_fill(self, bar: int) -> None:
        section, i, count = self.score.bars[bar]
        if i == count - 1 and section in ("build", "break"):
            # A clap roll that doubles its rate: four eighths, then sixteenths.
            for sixteenth in (0, 2, 4, 6, *range(8, 16)):
                self._hit("clap", bar, sixteenth, 0.1 + 0.025 * sixteenth)
        else:
            for sixteenth in range(self.rng.randint(11, 14), 16):
                position, take = 0.5 * self.rng.uniform(-1, 1), self.rng.randint(3)
                self._hit("perc", bar, sixteenth, 0.45, position, take)

    def _hit(
        self,
        voice: str,
        bar: int,
        sixteenth: float,
        level: float,
        position: float = 0.0,
        take: int | None = None,
    ) -> None:
        """Adds one stroke.

        Args:
          position: in the stereo image, from -1, left, to 1, right.
          take: index of the take; None: a random one.
        """
        rng, takes = self.rng, self.kit[voice]
        sound = takes[rng.randint(len(takes)) if take is None else take]
        jitter = rng.randint(-MAX_JITTER, MAX_JITTER + 1)
        start = max(0, self.score.at(bar, sixteenth) + (0 if voice == "clap" else jitter))
        gain = level * rng.uniform(0.85, 1.1)
        synth.add(self.bus[0], sound, start, gain * min(1.0, 1.0 - position))
        synth.add(self.bus[1], sound, start, gain * min(1.0, 1.0 + position))
        if voice in ("clap", "perc", "crash"):
            synth.add(self.room, sound, start, ROOM_SEND * gain)


def _find_risers(score: Score) -> list[tuple[int, int]]:
    """Returns (first, last) sample of the noise before each drop, at most two bars long."""
    spans = []
    for bar, (section, i, _) in enumerate(score.bars):
        if section == "drop" and i == 0 and bar > 0:
            span = min(2, score.bars[bar - 1][2])
            spans.append((score.at(bar - span, 0), score.at(bar, 0)))
    return spans


def _add_crackle(bus: np.ndarray, rng: RandomState, gain: float) -> None:
    """Adds vinyl noise: about nine clicks a second on either side, and a thin hiss."""
    length = bus.shape[-1]
    for channel in bus:
        clicks = np.zeros(length)
        count = int(9 * length / SAMPLE_RATE)
        clicks[rng.randint(0, length, count)] = rng.uniform(-1.0, 1.0, count)
        dust = 0.5 * synth.bandpass(clicks, 3500.0, 0.6) + 0.003 * synth.noise(rng, length)
        channel += gain * dust
