"""Blind listening tests of two sets of sounds: choice of the sounds, equal loudness, and the files.

OUTPUT/test/index.html      the page for the listeners, see `pages.listening`
OUTPUT/test/sounds/ID.flac  the sounds
OUTPUT/key.json             which sound is whose; not for the listeners

The listeners get the folder `test` alone: ids, lengths, loudness and channels do not tell the sets
apart. The same sounds and settings give the same test.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.analysis.loudness import measure_loudness, true_peak_db
from jukejax.common import files
from jukejax.data import audio
from jukejax.data.sound_files import FileFormat, Tags, write_sound
from jukejax.evaluation.sound_sets import Entry, SoundSet, find_middle
from jukejax.pages.listening import MODES, render_test

PEAK_DB = -1.0  # dBTP, highest true peak of a sound
SHORTEST = 1.0  # seconds of a sound
FADE_SECONDS = 0.02  # at both ends of a sound
KEY = "key.json"


@dataclass(frozen=True)
class Settings:
    """Settings of a test.

    Attributes:
      mode: "ab", which of two is preferred, or "rating", from 1 to 5.
      question: for the listeners.
      trials: largest number of pairs, or of the sounds of each set.
      seconds: longest length of a sound, from the middle of its track.
      lufs: loudness of all sounds; less if a peak does not allow it.
    """

    mode: str
    question: str
    trials: int = 20
    seconds: float = 10.0
    lufs: float = -20.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"--mode={self.mode} is unknown; modes: {', '.join(MODES)}")
        if self.trials < 1:
            raise ValueError(f"--trials={self.trials} must be 1 or more")
        if not SHORTEST <= self.seconds <= 600:
            raise ValueError(f"--seconds={self.seconds:g} must be {SHORTEST:g} to 600")
        if not -40 <= self.lufs <= -5:
            raise ValueError(f"--lufs={self.lufs:g} must be -40 to -5, such as -20")
        if self.seed < 0:
            raise ValueError(f"--seed={self.seed} must be 0 or more")


@dataclass(frozen=True)
class Clip:
    """A sound of the test.

    Attributes:
      set: number of its set.
      name: of its track.
      sound: float32 [time, channels] at 44.1 kHz.
      loudness: LUFS.
    """

    set: int
    name: str
    sound: np.ndarray
    loudness: float


def make_test(sets: Sequence[SoundSet], settings: Settings, output: Path) -> Path:
    """Writes a test to `output`; returns the path of its page.

    Raises:
      ValueError: no sounds are left; or `output` holds another test.
    """
    random = np.random.default_rng(settings.seed)
    groups = read_groups(sets, settings, random)
    groups, lufs = match_sounds(groups, settings.lufs)
    order = random.permutation(len(groups))
    trials = [groups[i] if i % 2 == 0 else groups[i][::-1] for i in order]  # half of the sides
    ids = _draw_ids(sum(map(len, trials)), random)
    clips = {next(ids): clip for trial in trials for clip in trial}
    names = iter(clips)
    id_trials = [[next(names) for _ in trial] for trial in trials]
    key = _describe_key(sets, settings, lufs, clips, id_trials)
    _check_other_test(output, key)
    folder = output / "test"
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    for name, clip in clips.items():
        write_sound(folder / "sounds" / f"{name}.flac", clip.sound, FileFormat("flac"), Tags())
    page = render_test(key["test"], settings.mode, settings.question, id_trials)
    files.write_text(folder / "index.html", page)
    files.write_json(output / KEY, key)
    return folder / "index.html"


# -- Choice of the sounds ------------------------------------------------------------------------


def read_groups(
    sets: Sequence[SoundSet], settings: Settings, random: np.random.Generator
) -> list[tuple[Clip, ...]]:
    """Reads the sounds of each trial: one of each set for "ab", one for "rating".

    Sets with the same names are paired by name, others at random. A group with a sound that is
    silent or shorter than `SHORTEST` is left out, with a line.
    """
    if settings.mode == "ab":
        groups = _pair_entries(sets, random)[: settings.trials]
    else:
        groups = [
            ((number, entry),)
            for number, sound_set in enumerate(sets)
            for entry in _select(sound_set.entries, settings.trials, random)
        ]
    clips = [tuple(_read_clip(*source, settings.seconds) for source in group) for group in groups]
    return [
        tuple(clip for clip in group if clip is not None) for group in clips if None not in group
    ]


def _pair_entries(
    sets: Sequence[SoundSet], random: np.random.Generator
) -> list[tuple[tuple[int, Entry], ...]]:
    first, second = (list(sound_set.entries) for sound_set in sets)
    if sorted(entry.name for entry in first) == sorted(entry.name for entry in second):
        by_name = {entry.name: entry for entry in second}
        second = [by_name[entry.name] for entry in first]
    else:
        second = _select(second, len(second), random)
        first = _select(first, len(first), random)
    pairs = list(zip(first, second, strict=False))
    return [((0, a), (1, b)) for a, b in (pairs[i] for i in random.permutation(len(pairs)))]


def _select(entries: Sequence[Entry], count: int, random: np.random.Generator) -> list[Entry]:
    """Selects at most `count` entries at random, in random order."""
    return [entries[i] for i in random.permutation(len(entries))[:count]]


def _read_clip(number: int, entry: Entry, seconds: float) -> Clip | None:
    """Reads the middle of a track; None, with a line, if it cannot be used."""
    sound = entry.read(seconds)
    if len(sound) < SHORTEST * audio.SAMPLE_RATE:
        print(f"{entry.name} is shorter than {SHORTEST:g} s: left out", file=sys.stderr)
        return None
    loudness = measure_loudness(sound)
    if loudness is None:
        print(f"{entry.name} is silent: left out", file=sys.stderr)
        return None
    return Clip(number, entry.name, sound, loudness)


# -- Equal sounds --------------------------------------------------------------------------------


def match_sounds(
    groups: Sequence[tuple[Clip, ...]], lufs: float
) -> tuple[list[tuple[Clip, ...]], float]:
    """Cuts all sounds to one length, and brings them to one number of channels and one loudness.

    Returns:
      The groups, and the loudness: `lufs`, or as much as the peak of every sound allows.

    Raises:
      ValueError: there are no sounds, or the cut one is silent.
    """
    clips = [clip for group in groups for clip in group]
    if not clips:
        raise ValueError("no sound is left for the test; see the lines above")
    size = min(len(clip.sound) for clip in clips)
    is_mono = any(clip.sound.shape[1] == 1 for clip in clips)
    equal = [[_cut(clip, size, is_mono) for clip in group] for group in groups]
    target = min(
        [lufs]
        + [clip.loudness + PEAK_DB - true_peak_db(clip.sound) for group in equal for clip in group]
    )
    return [tuple(_set_loudness(clip, target) for clip in group) for group in equal], target


def _cut(clip: Clip, size: int, is_mono: bool) -> Clip:
    """Returns the middle of a sound, with short fades at both ends."""
    sound = clip.sound[find_middle(len(clip.sound), size / audio.SAMPLE_RATE)][:size]
    if is_mono:
        sound = sound.mean(axis=1, keepdims=True)
    ramp = np.linspace(0, 1, round(FADE_SECONDS * audio.SAMPLE_RATE), dtype=np.float32)[:, None]
    sound = sound.astype(np.float32)
    sound[: len(ramp)] *= ramp
    sound[len(sound) - len(ramp) :] *= ramp[::-1]
    loudness = measure_loudness(sound)
    if loudness is None:
        raise ValueError(
            f"the middle {size / audio.SAMPLE_RATE:.1f} s of {clip.name} are silent: remove it"
        )
    return dataclasses.replace(clip, sound=sound, loudness=loudness)


def _set_loudness(clip: Clip, lufs: float) -> Clip:
    gain = np.float32(10 ** ((lufs - clip.loudness) / 20))
    return dataclasses.replace(clip, sound=clip.sound * gain, loudness=lufs)


# -- Key -----------------------------------------------------------------------------------------


def _draw_ids(count: int, random: np.random.Generator) -> Any:
    """Returns an iterator over different ids without a meaning."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids[random.bytes(6).hex()] = None
    return iter(ids)


def _describe_key(
    sets: Sequence[SoundSet],
    settings: Settings,
    lufs: float,
    clips: dict[str, Clip],
    trials: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Returns the content of key.json; `test`, the id of the test, is a hash of the rest."""
    key: dict[str, Any] = dataclasses.asdict(settings) | {
        "sets": [str(sound_set.path) for sound_set in sets],
        "loudness_lufs": round(lufs, 2),
        "clips": {
            name: {
                "set": clip.set,
                "name": clip.name,
                "sha256": hashlib.sha256(clip.sound.tobytes()).hexdigest(),
            }
            for name, clip in clips.items()
        },
        "trials": [list(trial) for trial in trials],
    }
    return {"test": hashlib.sha256(files.format_json(key).encode()).hexdigest()[:12]} | key


def _check_other_test(output: Path, key: dict[str, Any]) -> None:
    """Checks that `output` has no other test, whose key would be lost."""
    other = files.read_json_if_any(output / KEY).get("test")
    if (output / KEY).exists() and other != key["test"]:
        raise ValueError(
            f"--output={output} holds another test, whose answers need its {KEY}; take another "
            "folder"
        )
