"""Requests, and what is refused before any model is opened."""

import pytest

from jukejax.sampling.request import Request

LEVELS = {2: 1.0, 1: 1.0, 0: 1.0}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    return str(path)


def make_request(**values):
    return Request(**{"temperature": LEVELS, "hop_fraction": LEVELS} | values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": (0, 1)}, "--levels=0,1 must go down"),
        ({"levels": (2, 0)}, "leaves out level 1, which level 0 needs"),
        ({"levels": (1, -1)}, "must go down to 0"),
        ({"seconds": -1.0}, r"--seconds=-1\.0 must be positive"),
        ({"seconds": float("inf")}, "--seconds=inf must be positive"),
        ({"offset_seconds": -2.0}, "--offset_seconds"),
        ({"offset_seconds": 9.0, "total_seconds": 8.0}, "behind the end of a piece"),
        ({"items": range(0)}, "--num_samples"),
        ({"items": range(-1, 2)}, "--first_item=-1"),
        ({"seed": -1}, "--seed=-1"),
        ({"top_p": LEVELS | {1: 1.5}}, r"--top_p=1\.5"),
        ({"min_p": LEVELS | {0: -0.1}}, r"--min_p=-0\.1"),
        ({"top_k": {2: 0, 1: -3}}, "--top_k=-3"),
        ({"temperature": LEVELS | {1: -1.0}}, r"--temperature=-1\.0"),
        ({"hop_fraction": LEVELS | {1: 0.0}}, r"--hop_fraction=0\.0"),
        ({"memory_fraction": 1.5}, r"--memory_fraction=1\.5"),
        ({"mode": "primed"}, "--mode=primed needs --prompt, an audio file"),
        ({"mode": "continue"}, "--mode=continue needs --codes"),
        ({"mode": "upsample"}, "needs --prompt, an audio file or --codes"),
        ({"prompt": "FILE"}, "--prompt does not go with --mode=ancestral; it is for primed, ups"),
        ({"mode": "primed", "prompt": "/none"}, "--prompt=/none is no file"),
        ({"mode": "upsample", "prompt": "FILE", "codes": "FILE"}, "not both"),
        ({"prompt_seconds": 2.0}, "--prompt_seconds is a part of"),
        ({"mode": "reroll", "codes": "FILE"}, "--mode=reroll and --reroll"),
        ({"mode": "continue", "codes": "FILE", "reroll": (1.0, 2.0)}, "need each other"),
        ({"mode": "reroll", "codes": "FILE", "reroll": (2.0, 2.0)}, "--reroll=2:2 must be"),
        ({"mode": "reroll", "codes": "FILE", "reroll": (1.0, 2.0), "seconds": 3.0}, "keeps the le"),
        ({"mode": "reroll", "codes": "FILE", "reroll": (1.0, 2.0), "stream": True}, "--stream"),
        ({"mode": "reroll", "codes": "FILE", "reroll": (1.0, 2.0), "candidates": 0}, "--candidat"),
    ],
)
def test_invalid_requests_are_refused_in_one_line(values, message, file):
    values = {name: file if value == "FILE" else value for name, value in values.items()}
    with pytest.raises(ValueError, match=message) as error:
        make_request(**values)
    assert "\n" not in str(error.value)


def test_every_mode_can_be_requested(file):
    make_request()
    make_request(mode="primed", prompt=file, prompt_seconds=3.0, stream=True)
    make_request(mode="continue", codes=file, seconds=20.0)
    make_request(mode="upsample", codes=file)
    make_request(mode="upsample", prompt=file, levels=(1, 0))
    make_request(mode="reroll", codes=file, reroll=(1.0, 2.5))
