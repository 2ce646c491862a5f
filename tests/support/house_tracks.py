"""House tracks that tests share: each is synthesized once in a process."""

import functools

from jukejax.preparation import house

SECONDS = 16.0  # eight bars, which have every section
_synthesize = functools.cache(house.track)


def house_track(
    index: int,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    tempo: tuple[float, float] | None = None,
    solo: bool = False,
) -> house.HouseTrack:
    """Returns a track of `house.track`, whose arrays cannot be written to.

    Tests can replace `house.track` by it.
    """
    track = _synthesize(index, seconds=float(seconds), seed=seed, tempo=tempo, solo=solo)
    for stem in (track.instrumental, track.vocal):
        stem.flags.writeable = False
    return track
