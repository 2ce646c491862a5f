"""The percussion of a house track: the drum patterns of the score, fills, and crackle."""

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import drums, synth
from jukejax.preparation.house.score import Score, parse_rhythm
from jukejax.preparation.house.synth import SAMPLE_RATE
from jukejax.preparation.house.transitions import Transition, plan_transitions

MAX_JITTER = 60  # samples, 1.4 ms: timing error of a hand
ROOM_SEND = 0.6  # gain of claps, snares, percussion and crashes in the room's input
FILLS = ("perc", "perc", "claps", "snares", "hats", "toms")


def play_drums(score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Plays the drums and percussion except the kick, and the transitions.

    Returns:
      The bus [2, time], and the input signal of the room [time].
    """
    player = _DrumPlayer(score)
    for bar in range(len(score.bars)):
        player.play_bar(bar)
    for transition in plan_transitions(score):
        player.play_transition(transition)
    if score.artist.crackle:
        _add_crackle(player.bus, player.rng, score.artist.crackle)
    return player.bus, player.room


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

    def play_bar(self, bar: int) -> None:
        """Plays the drums of one bar; the patterns change with the phrase of eight bars."""
        score, artist = self.score, self.score.artist
        section, i, _ = score.bars[bar]
        if score.plays("clap", bar):
            for sixteenth, level in self._choose(artist.clap_rhythms, bar):
                self._hit("clap", bar, sixteenth, 1.0 * level)
        if score.plays("hats", bar):
            for beat in (2, 6, 10, 14):
                self._hit("open", bar, beat, 0.46, -0.15)
            if section != "intro" or i > 0:
                for sixteenth, level in self._choose(artist.hat_rhythms, bar):
                    self._hit("hat", bar, sixteenth, 0.4 * level, 0.25)
        if score.plays("ride", bar):
            for sixteenth, level in parse_rhythm(artist.ride_rhythm):
                self._hit("ride", bar, sixteenth, 0.2 * level, 0.4)
        if score.plays("shaker", bar):
            for sixteenth, level in self._choose(artist.shaker_rhythms, bar):
                self._hit("shaker", bar, sixteenth, 0.36 * artist.shaker * level, -0.4)
        if score.plays("perc", bar):
            for sixteenth, level in self._choose(artist.perc_rhythms, bar):
                take = self.rng.randint(3)
                self._hit("perc", bar, sixteenth, 0.36 * level, 0.3 * (take - 1), take)
        if score.is_turn(bar) and section not in ("intro", "outro"):
            self._play_fill(bar)

    def _choose(self, rhythms: tuple[str, ...], bar: int) -> list[tuple[int, float]]:
        """Returns the strokes of a bar's phrase."""
        return parse_rhythm(rhythms[self.score.phrases[bar] % len(rhythms)])

    def _play_fill(self, bar: int) -> None:
        """Plays a fill; it is longer at the end of eight bars than of four."""
        rng = self.rng
        kind = FILLS[rng.randint(len(FILLS))]
        is_long = self.score.bars[bar][1] % 8 == 7
        first = rng.randint(8, 11) if is_long else rng.randint(11, 14)
        for sixteenth in range(first, 16):
            if rng.uniform() < 0.2:
                continue
            position = 0.5 * rng.uniform(-1, 1)
            if kind in ("perc", "toms"):
                take = rng.randint(3) if kind == "perc" else max(0, 2 - (sixteenth - first) // 2)
                self._hit("perc", bar, sixteenth, 0.45, position, take)
            elif kind == "hats":
                self._hit("open" if sixteenth % 3 == 0 else "hat", bar, sixteenth, 0.4, position)
            elif sixteenth % 4:  # claps and snares leave the beats free
                voice = "clap" if kind == "claps" else "snare"
                self._hit(voice, bar, sixteenth, 0.3 + 0.02 * sixteenth, 0.3 * position)

    def play_transition(self, transition: Transition) -> None:
        """Plays a riser, a downlifter, a roll or a crash."""
        score, rng = self.score, self.rng
        kind, bar, span = transition
        start, end = score.at(bar, 0), score.at(bar + span, 0)
        if kind == "crash":
            self._hit("crash", bar, 0, 0.26, 0.2)
        elif kind == "riser":
            synth.add(self.bus, drums.riser(rng, end - start), start, 0.3)
        elif kind == "downlifter":
            synth.add(self.bus, drums.downlifter(rng, end - start), start, 0.25)
        else:  # a roll of quarters, eighths, then sixteenths, ever louder
            total = 16 * span
            steps = [*range(0, total // 2, 4), *range(total // 2, 3 * total // 4, 2)]
            for sixteenth in [*steps, *range(3 * total // 4, total)]:
                level = 0.12 + 0.43 * sixteenth / total
                self._hit("snare", bar + sixteenth // 16, sixteenth % 16, level)

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
        if voice in ("clap", "perc", "crash", "snare"):
            synth.add(self.room, sound, start, ROOM_SEND * gain)


def _add_crackle(bus: np.ndarray, rng: RandomState, gain: float) -> None:
    """Adds vinyl noise: about nine clicks a second on either side, and a thin hiss."""
    length = bus.shape[-1]
    for channel in bus:
        clicks = np.zeros(length)
        count = int(9 * length / SAMPLE_RATE)
        clicks[rng.randint(0, length, count)] = rng.uniform(-1.0, 1.0, count)
        dust = 0.5 * synth.bandpass(clicks, 3500.0, 0.6) + 0.003 * synth.noise(rng, length)
        channel += gain * dust
