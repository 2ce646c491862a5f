"""The page of an audit."""

import re

from jukejax.auditing import page

NOVEL = {"verdict": "novel", "because": None}
COPIED = {"verdict": "copied", "because": "votes"}
PROMPT = {"verdict": "prompt", "because": None}


def format_timeline(seconds):
    item = {
        "name": "mix",
        "verdict": "copied",
        "seconds": len(seconds),
        "shares": {"similar": 0.0, "copied": 0.01},
        "given": "",
        "prompt_seconds": 0,
        "passages": [],
        "timeline": seconds,
    }
    table = {"verdict": "copied", "thresholds": {}, "training": []}
    text = page.format_page(table, [page.Piece(item, None, {})])
    return re.findall(r'<span style="flex:(\d+)[^"]*" title="([^"]+)">', text)


def test_a_short_piece_has_a_field_for_each_second():
    fields = format_timeline([PROMPT, NOVEL, COPIED])
    assert fields == [
        ("1", "0 s: prompt"),
        ("1", "1 s: novel"),
        ("1", "2 s: copied, landmarks in common"),
    ]


def test_the_timeline_of_two_hours_fits_on_a_phone_and_shows_one_copied_second():
    seconds = [NOVEL] * 7201
    seconds[5000] = COPIED
    fields = format_timeline(seconds)
    assert len(fields) <= page.MAX_FIELDS
    assert sum(int(width) for width, _ in fields) == 7201
    copied = [title for _, title in fields if "copied" in title]
    assert copied == ["4998 to 5047 s: copied, landmarks in common"]
