"""Settings of sampling that a model recommends."""

import pytest

from jukejax.weights.recommended_settings import DEFAULTS, check_recommendation, fill_settings

RECOMMENDED = {
    "temperature": {"level_2": 1.4, "level_1": 0.9, "level_0": 0.8},
    "min_p": {"level_2": 0.01},
    "guided_labels": ["key"],
    "schedule": "parallel",
}


def test_open_settings_are_those_of_the_levels_that_are_sampled():
    filled = fill_settings({"temperature": None, "seed": 3}, [2, 0], RECOMMENDED)
    assert filled == {
        **DEFAULTS,
        "seed": 3,
        "temperature": [1.4, 0.8],
        "min_p": [0.01, 0.0],
        "guided_labels": ["key"],
        "schedule": "parallel",
    }


def test_settings_that_are_given_stay_and_models_without_recommendation_have_the_defaults():
    values = {"temperature": 0, "schedule": "sequential"}
    assert fill_settings(values, [2], RECOMMENDED).items() >= values.items()
    assert fill_settings({}, [2], {}) == DEFAULTS


@pytest.mark.parametrize(
    ("recommended", "message"),
    [
        ({"temprature": 1}, r"model\.json\.temprature is not known; known are temperature, guid"),
        ({"temperature": "high"}, r"temperature is 'high', not a setting"),
        ({"min_p": {"level_2": None}}, "min_p is {'level_2': None}, not a setting"),
        ({"guidance": True}, "guidance is True"),
        ({"schedule": 3}, "schedule is 3"),
        ([1], "is not an object with some of temperature"),
    ],
)
def test_a_recommendation_of_another_form_is_refused(recommended, message):
    with pytest.raises(ValueError, match=message):
        check_recommendation(recommended, "model.json")
