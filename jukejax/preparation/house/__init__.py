"""The embedded corpus: procedural house music, so that the pipeline runs without a download.

`house.track(index)` gives one track: an arrangement in whole bars, drums, bass, chords, pads and a
sung lead on a stem of its own. The truth about every track (tempo, key, sections, the voice) is
known, which is what makes it useful for tests. It is too clean to report on alone.

The files, from the floor up: `synth` (oscillators, filters, effects), `drums` and `singer`
(sounds), `artists` (the eight styles), `score` (arrangement), `players` and `lead` (who plays
what), `studio` (the mix).
"""

from jukejax.preparation.house.studio import ARTISTS, GENRES, HouseTrack, track

__all__ = ["ARTISTS", "GENRES", "HouseTrack", "track"]
