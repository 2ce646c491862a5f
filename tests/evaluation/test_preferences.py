"""Results of listening tests against hand-made answers, and files that are no answers."""

import json

import numpy as np
import pytest
from scipy import stats

from jukejax.evaluation.preferences import read_all_answers, read_answers, summarize_answers

AB = {
    "test": "t",
    "mode": "ab",
    "sets": ["mine", "theirs"],
    "clips": {f"{side}{i}": {"set": int(side == "b")} for side in "ab" for i in range(10)},
    "trials": [[f"a{i}", f"b{i}"] if i % 2 else [f"b{i}", f"a{i}"] for i in range(10)],
}
RATING = AB | {"mode": "rating", "trials": [[name] for name in AB["clips"]]}


def write_answers(path, answers, test="t", listener="Anna"):
    path.write_text(json.dumps({"test": test, "listener": listener, "answers": answers}))
    return str(path)


def choose(*sides):
    return [{"trial": i, "choice": f"{side}{i}"} for i, side in enumerate(sides)]


def test_preference_has_the_exact_interval(tmp_path):
    path = write_answers(tmp_path / "a.json", choose(*"aaaaaaaabb"))
    lines = summarize_answers(AB, read_all_answers([path], AB))
    assert lines[0] == "10 answers of 1 listener to 10 trials"
    # Clopper and Pearson's interval of 8 of 10, from tables of the binomial distribution
    assert lines[1] == "mine is preferred to theirs: 8 of 10, 80 % (95 % interval 44 to 97 %)"
    assert lines[2].endswith("p = 0.11")  # 2 (1 + 10 + 45) / 1024
    assert lines[-1].startswith("side A is preferred, whatever it holds: 5 of 10")
    assert len(lines) == 4


def test_several_listeners_are_counted_together_and_each(tmp_path):
    paths = [
        write_answers(tmp_path / "a.json", choose(*"aaaa")),
        write_answers(tmp_path / "b.json", choose(*"bbbbbb"), listener="Ben\x1b[31m"),
    ]
    lines = summarize_answers(AB, read_all_answers(paths, AB))
    assert lines[0] == "10 answers of 2 listeners to 6 trials"
    assert "4 of 10, 40 %" in lines[1]
    assert lines[3].startswith("  Anna: 4 of 4, 100 % ")
    assert lines[4].startswith("  Ben\\u001b[31m: 0 of 6, 0 % ")
    assert "not independent" in lines[5]


def test_ratings_are_means_over_sounds(tmp_path):
    random = np.random.default_rng(0)
    tables = random.integers(1, 6, (2, 20))
    paths = [
        write_answers(
            tmp_path / f"{i}.json",
            [{"trial": trial, "rating": int(rating)} for trial, rating in enumerate(table)],
            listener=f"l{i}",
        )
        for i, table in enumerate(tables)
    ]
    lines = summarize_answers(RATING, read_all_answers(paths, RATING))
    first, second = tables.mean(axis=0)[:10], tables.mean(axis=0)[10:]
    low, high = stats.t.interval(0.95, 9, first.mean(), stats.sem(first))
    expected = f"mean rating {first.mean():.2f} of 5 over 10 sounds (95 % interval "
    assert lines[1] == f"mine: {expected}{low:.2f} to {high:.2f})"
    difference = first.mean() - second.mean()
    error = np.hypot(stats.sem(first), stats.sem(second))
    assert lines[3].startswith(f"difference: {difference:+.2f} (95 % interval ")
    low, high = (float(word.strip(")")) for word in lines[3].split("interval ")[1].split(" to "))
    assert (low + high) / 2 == pytest.approx(difference, abs=0.01)
    assert 2.0 * error < (high - low) / 2 < 2.2 * error


@pytest.mark.parametrize("ratings", [[3], [3, 3, 3, 3]])
def test_ratings_without_spread_have_no_false_interval(tmp_path, ratings):
    answers = [{"trial": 5 * i, "rating": rating} for i, rating in enumerate(ratings)]
    lines = summarize_answers(
        RATING, read_all_answers([write_answers(tmp_path / "a", answers)], RATING)
    )
    assert lines[1].startswith("mine: mean rating 3.00 of 5 over ")
    assert len(ratings) == 1 or lines[3].startswith("difference: +0.00 (too few sounds")


@pytest.mark.parametrize(
    "answers",
    [
        [],
        {"0": "a0"},
        None,
        [{"trial": 0, "choice": "a1"}],
        [{"trial": 10, "choice": "a0"}],
        [{"trial": -1, "choice": "a9"}],
        [{"trial": True, "choice": "a1"}],
        [{"trial": "0", "choice": "a0"}],
        [{"trial": 0, "choice": "a0"}, {"trial": 0, "choice": "b0"}],
        [{"trial": 0, "choice": ["a0"]}],
        [{"trial": 0, "choice": None}],
        [{"trial": 0}],
        [7],
    ],
)
def test_files_that_are_no_answers_are_refused(tmp_path, answers):
    path = write_answers(tmp_path / "a.json", answers)
    with pytest.raises(ValueError, match=r"a\.json holds no answers"):
        read_answers(tmp_path / "a.json", AB)
    with pytest.raises(ValueError, match=r"a\.json holds no answers"):
        read_all_answers([path], RATING)


@pytest.mark.parametrize("rating", [0, 6, 2.5, True, "3", None, [3]])
def test_ratings_beyond_the_scale_are_refused(tmp_path, rating):
    write_answers(tmp_path / "a.json", [{"trial": 0, "rating": rating}])
    with pytest.raises(ValueError, match=r"a\.json holds no answers"):
        read_answers(tmp_path / "a.json", RATING)


def test_answers_of_another_test_or_listener_twice_are_refused(tmp_path):
    other = write_answers(tmp_path / "other.json", choose("a"), test="u")
    with pytest.raises(ValueError, match="belongs to test u"):
        read_all_answers([other], AB)
    first = write_answers(tmp_path / "a.json", choose("a"))
    with pytest.raises(ValueError, match="counts the file"):
        read_all_answers([first, first], AB)
    again = write_answers(tmp_path / "b.json", choose("b"))
    with pytest.raises(ValueError, match="the listener Anna 2 times"):
        read_all_answers([first, again], AB)
    nameless = [write_answers(tmp_path / f"{i}.json", choose("a"), listener="") for i in range(2)]
    assert len(read_all_answers(nameless, AB)) == 2
