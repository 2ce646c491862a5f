"""The drum sounds of the house corpus, rendered once for each track."""

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import synth
from jukejax.preparation.house.synth import SAMPLE_RATE

# Pitches in Hz of the three strokes of a hand drum, decay in seconds, level of the slap, gain.
PERCUSSION = {
    "conga": ((180.0, 240.0, 330.0), 0.11, 0.15, 1.2),
    "rim": ((480.0, 830.0, 1660.0), 0.018, 0.4, 0.9),
    "wood": ((520.0, 700.0, 940.0), 0.035, 0.1, 0.8),
    "tom": ((95.0, 130.0, 170.0), 0.17, 0.1, 1.4),
}
PERC_VOICES = tuple(PERCUSSION)
VARIANTS = 4  # takes of every noisy voice, so that adjacent hits differ


@dataclass(frozen=True)
class Kit:
    """The parameters of an artist's drum machine. Frequencies in Hz, times in seconds."""

    kick_hz: float = 50.0
    kick_sweep: float = 180.0  # start of the pitch sweep above `kick_hz`
    kick_decay: float = 0.16
    kick_drive: float = 1.5
    clap_hz: float = 1300.0
    clap_decay: float = 0.09
    snare: float = 0.0  # share of a drum's body under the clap
    hat_hz: float = 8500.0
    hat_decay: float = 0.022
    open_decay: float = 0.11
    metal: float = 0.4  # share of pitched metal in the hats; the rest is noise
    perc: str = "conga"  # key of `PERCUSSION`
    perc_tune: float = 1.0  # factor of its pitches


def _frames(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE)


def kick(kit: Kit, rng: RandomState) -> np.ndarray:
    """Renders a kick, [time]: a falling sine with a click, saturated."""
    length = _frames(0.42)
    time = synth.clock(length)
    # The phase is the integral of kick_hz + sweep * exp(-t / 0.025) + 900 * exp(-t / 0.004).
    cycles = kit.kick_hz * time
    for height, fall in ((kit.kick_sweep, 0.025), (900.0, 0.004)):
        cycles = cycles + height * fall * (1.0 - np.exp(-time / fall))
    body = np.sin(2 * np.pi * cycles) * np.minimum(1.0, np.exp(-(time - 0.05) / kit.kick_decay))
    click = synth.highpass(synth.noise(rng, length), 2500.0) * np.exp(-time / 0.003)
    driven = synth.soft_clip(kit.kick_drive * (body + 0.12 * click))
    return synth.fade(driven, 0.0004, 0.03)


def clap(kit: Kit, rng: RandomState) -> np.ndarray:
    """Renders a clap, [time]: four bursts a few milliseconds apart, a decay, and `kit.snare`."""
    length = _frames(0.32)
    time = synth.clock(length)
    envelope = 0.7 * np.exp(-time / kit.clap_decay) * (time > 0.028)
    for hand, when in enumerate((0.0, 0.009, 0.019, 0.028)):
        later = time - when - rng.uniform(0.0, 0.002) * (hand > 0)
        envelope = envelope + np.where(later >= 0, np.exp(-np.maximum(later, 0.0) / 0.006), 0.0)
    air = synth.noise(rng, length) * envelope
    hands = synth.bandpass(air, kit.clap_hz, 1.1) + 0.5 * synth.highpass(air, 2600.0)
    drum = np.sin(2 * np.pi * 190.0 * time) * np.exp(-time / 0.07)
    return synth.fade(1.2 * hands + kit.snare * drum, 0.0005, 0.03)


def hat(kit: Kit, rng: RandomState, decay_seconds: float) -> np.ndarray:
    """Renders a hi-hat, [time]: six detuned square waves and noise, high-passed."""
    length = _frames(min(0.5, 5 * decay_seconds + 0.02))
    time = synth.clock(length)
    metal = np.zeros(length)
    for ratio in (2.0, 3.0, 4.16, 5.43, 6.79, 8.21):
        frequency = ratio * rng.uniform(395.0, 405.0)
        metal += np.where((time * frequency + rng.uniform()) % 1.0 < 0.5, 0.3, -0.3)
    air = kit.metal * metal + (1.0 - kit.metal) * synth.noise(rng, length)
    crisp = synth.highpass(synth.highpass(air, kit.hat_hz * 0.6), kit.hat_hz * 0.45)
    return synth.fade(1.1 * crisp * synth.decay(length, decay_seconds), 0.0006, 0.01)


def snare(kit: Kit, rng: RandomState) -> np.ndarray:
    """Renders a snare, [time]: two modes of the drum's head, and the snares' noise."""
    length = _frames(0.22)
    time = synth.clock(length)
    head = np.sin(2 * np.pi * 185.0 * time) + 0.6 * np.sin(2 * np.pi * 331.0 * time)
    wires = synth.bandpass(synth.noise(rng, length), 1.6 * kit.clap_hz, 0.5)
    sound = 0.5 * head * np.exp(-time / 0.045) + 1.6 * wires * np.exp(-time / 0.07)
    return synth.fade(sound, 0.0008, 0.03)


def shaker(rng: RandomState) -> np.ndarray:
    """Renders a shaker, [time]: band-passed noise."""
    length = _frames(0.09)
    grains = synth.bandpass(synth.noise(rng, length), 6200.0, 1.2)
    return synth.fade(1.4 * grains * synth.decay(length, 0.03), 0.018, 0.02)


def perc(kit: Kit, rng: RandomState) -> tuple[np.ndarray, ...]:
    """Renders a low, a middle and a high stroke of the kit's hand drum, [time] each."""
    pitches, seconds, strike, gain = PERCUSSION[kit.perc]
    length = _frames(min(0.4, 5 * seconds + 0.03))
    strokes = []
    for pitch in (kit.perc_tune * pitch for pitch in pitches):
        bend = 1.0 + 0.15 * synth.decay(length, 0.02)
        tone = np.sin(2 * np.pi * np.cumsum(pitch * bend) / SAMPLE_RATE)
        slap = synth.bandpass(synth.noise(rng, length), 4 * pitch, 0.8) * synth.decay(length, 0.006)
        strokes.append(
            synth.fade(
                gain * (tone * synth.decay(length, seconds) + 2 * strike * slap), 0.001, 0.02
            )
        )
    return tuple(strokes)


def crash(rng: RandomState) -> np.ndarray:
    """Renders a crash cymbal, [time]."""
    length = _frames(1.8)
    air = synth.highpass(synth.noise(rng, length), 4200.0)
    return synth.fade(air * synth.decay(length, 0.45), 0.002, 0.2)


def riser(rng: RandomState, length: int) -> np.ndarray:
    """Renders growing noise in a band that rises from 400 Hz to 9 kHz, [2, length]."""
    progress = np.arange(length) / length
    air = np.stack([synth.noise(rng, length), synth.noise(rng, length)])
    climb = synth.sweep(air, lambda at: 400.0 * 22.5 ** (at / length), q=1.6, kind="band")
    return synth.fade(climb * progress * progress, 0.05, 0.01)


def downlifter(rng: RandomState, length: int) -> np.ndarray:
    """Renders fading noise in a band that falls from 7 kHz to 300 Hz, [2, length]."""
    remainder = 1.0 - np.arange(length) / length
    air = np.stack([synth.noise(rng, length), synth.noise(rng, length)])
    fall = synth.sweep(air, lambda at: 7000.0 * 23.0 ** (-at / length), q=1.2, kind="band")
    return synth.fade(fall * remainder * remainder, 0.01, 0.05)


def render(kit: Kit, rng: RandomState) -> dict[str, tuple[np.ndarray, ...]]:
    """Renders all voices of a kit, each as a tuple of takes (`perc`: low, middle, high)."""
    takes = range(VARIANTS)
    return {
        "kick": (kick(kit, rng),),
        "clap": tuple(clap(kit, rng) for _ in takes),
        "hat": tuple(hat(kit, rng, kit.hat_decay) for _ in takes),
        "open": tuple(hat(kit, rng, kit.open_decay) for _ in takes),
        "ride": tuple(hat(kit, rng, 0.2) for _ in takes),
        "shaker": tuple(shaker(rng) for _ in takes),
        "perc": perc(kit, rng),
        "crash": (crash(rng),),
        "snare": tuple(snare(kit, rng) for _ in takes),
    }
