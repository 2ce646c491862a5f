"""The page of milestones: its table, its tracks side by side, and its figures as JSON."""

import json

import numpy as np

from jukejax.data import audio
from jukejax.pages.milestones import RHYTHM, Milestone, MilestoneTrack, write_milestone_page


def make_milestone(folder, step, bits, verdict, tempo):
    wav = folder / f"step_{step}/level_2.wav"
    wav.parent.mkdir()
    audio.write_wav(wav, np.full((4000, 1), 0.1, np.float32))
    rhythm = dict.fromkeys(RHYTHM) | {"tempo_bpm": tempo}
    copied = 0.25 if verdict == "copied" else 0.0
    tracks = (
        MilestoneTrack("first", wav, rhythm, verdict, copied),
        MilestoneTrack("second", wav, dict.fromkeys(RHYTHM), "novel", 0.0),
    )
    return Milestone(step, bits - 0.5, bits, 0.5, tracks)


def test_milestones_are_side_by_side_with_their_figures(tmp_path):
    milestones = [
        make_milestone(tmp_path, 33000, 4.5, "novel", 120.0),
        make_milestone(tmp_path, 90000, 4.25, "copied", None),
    ]
    index, figures = write_milestone_page(tmp_path, "prior", milestones)
    text = index.read_text().replace("\u00a0", " ")
    assert text.count("<audio") == 4
    rows = text.split("<tbody>")[1].split("</tbody>")[0].split("<tr>")[1:]
    for row, shown in zip(
        rows,
        (
            ("33,000", "2 novel; 0 % of the seconds copied", "4.000", "4.500", "0.500", "120.0"),
            ("90,000", "1 copied, 1 novel; 12 % of the seconds copied", "3.750", "4.250", "–"),
        ),
        strict=True,
    ):
        assert all(value in row for value in shown)
    tracks = text.split('<section id="track_0">')[1].split("</section>")[0]
    assert tracks.index("step_33000") < tracks.index("step_90000")
    assert "copied, 25 % copied; –" in tracks
    assert figures[0][0] == "step 33,000"
    stored = json.loads((tmp_path / "milestones.json").read_text())["milestones"]
    assert [each["copied"] for each in stored] == [0.0, 0.125]
    assert stored[0]["rhythm"]["tempo_bpm"] == 120.0
    assert stored[1]["tracks"][0]["wav"] == "step_90000/level_2.wav"
