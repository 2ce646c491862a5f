"""The embedded corpus: procedural house music, for runs without a download.

`house.track(index)` returns one track: an arrangement in whole bars, drums, bass, chords, pads, a
hook and a sung lead on a separate stem. Tempo, key, sections and the voice of every track are
known, for use in tests. It is too clean to be the only data of an evaluation.

Eight artists alternate. Each has a style (`artists`), around which patterns, drum kit and patches
of every track are drawn (`variation`); chords are drawn from loops in minor and major keys
(`harmony`). Layers enter or leave every 4 bars, and patterns change every 8 (`arrangement`).

The modules from the lowest up: `synth` (oscillators, filters, effects), `drums` and `singer`
(sounds), `artists` (the eight styles) and `guest` (a ninth, outside the corpus), `harmony`,
`variation` and `arrangement` (what is drawn for a track), `score` (the time grid), `percussion`,
`transitions`, `bass`, `chords`, `hook` and `lead` (parts), `studio` (the mix).
"""

from jukejax.preparation.house.guest import GUEST
from jukejax.preparation.house.studio import ARTISTS, GENRES, HouseTrack, track

__all__ = ["ARTISTS", "GENRES", "GUEST", "HouseTrack", "track"]
