"""Sampling that is killed in the test's own process."""

import pytest

from jukejax.sampling.folder import SampleFolder


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill_within_second_level(patch: pytest.MonkeyPatch) -> None:
    """Makes sampling raise `Killed` when it saves the state of level 1 for the second time."""
    save, saved = SampleFolder.save_state, []

    def save_until_killed(self, stage, state):
        saved.append(stage)
        if saved.count("level_1") == 2:
            raise Killed
        save(self, stage, state)

    patch.setattr(SampleFolder, "save_state", save_until_killed)
