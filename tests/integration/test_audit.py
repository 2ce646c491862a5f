"""The `audit` command: copies are flagged at their seconds, new music is not."""

import json
import shutil

import numpy as np
import pytest
import soundfile

import jukejax
from jukejax.auditing import corpus as audit_corpus
from jukejax.auditing import pieces
from jukejax.auditing.auditor import Auditor
from jukejax.auditing.corpus import AudioCorpus, CodeCorpus, open_training
from jukejax.data import audio, corpus, vocabularies
from jukejax.data.writer import DatasetWriter
from jukejax.inference.codec import Codec
from tests.support import small_bundle, synthetic_codes
from tests.support.command import run_in_process, stop_when
from tests.support.house_tracks import house_track
from tests.support.synthetic_codes import COPIED

RATE = 44100


def new_music(number, seconds):
    """Another track by one of the corpus' artists, with the same drum kit."""
    return house_track(number, seconds=seconds, seed=9).mix.mean(axis=1)[: round(seconds * RATE)]


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Four tracks to train on and three held out, as `prepare` stores them."""
    folder = tmp_path_factory.mktemp("music")
    vocabulary = vocabularies.Vocabulary.build(["a"], ["house"])
    with DatasetWriter(folder, kind="audio", vocabulary=vocabulary, separator="none") as writer:
        for i in range(7):
            sound = audio.to_int16(house_track(i, seconds=16.0).mix)
            track = corpus.Track(f"t{i}", "a", ("house",), content=str(i))
            writer.add("train" if i < 4 else "heldout", track, audio=sound)
    return folder


@pytest.fixture(scope="module")
def input_folder(music, tmp_path_factory):
    """A new piece that ends with six seconds of track 2; new music; noise."""
    folder = tmp_path_factory.mktemp("input")
    known = corpus.open_dataset(music).read_track("train", 2).mean(axis=1)
    copy = np.concatenate([new_music(3, 5.0), 0.5 * known[4 * RATE : 10 * RATE]])
    audio.write_wav(folder / "copy.wav", copy)
    audio.write_wav(folder / "new.wav", new_music(2, 8.0))
    audio.write_wav(folder / "noise.wav", np.random.RandomState(0).normal(0, 0.2, 6 * RATE))
    return folder


@pytest.fixture(scope="module")
def report(music, input_folder, tmp_path_factory):
    """The folder that `audit` wrote, and what audit.json says."""
    output = tmp_path_factory.mktemp("audit")
    done = run_in_process(
        "audit", f"--input={input_folder}", f"--training={music}", f"--output={output}", code=3
    )
    assert "3 pieces: 2 novel, 1 copied" in done.stdout
    return output, json.loads((output / "audit.json").read_text())


def test_a_copy_is_flagged_at_its_seconds_with_its_original(report):
    _, found = report
    assert found["verdict"] == "copied"
    assert [item["verdict"] for item in found["items"]] == ["copied", "novel", "novel"]
    timeline = [second["verdict"] for second in found["items"][0]["timeline"]]
    assert timeline == ["novel"] * 5 + ["copied"] * 6
    (passage,) = found["items"][0]["passages"]
    assert (passage["start"], passage["end"], passage["track"]) == (5, 11, "t2")
    assert passage["offset_seconds"] == pytest.approx(4.0, abs=0.03)
    second = found["items"][0]["timeline"][7]
    assert second["evidence"]["votes"] >= 16
    for kind in ("votes", "correlation"):
        assert second["places"][kind]["track"] == "t2"
        assert second["places"][kind]["offset_seconds"] == pytest.approx(6.0, abs=0.03)
    assert found["thresholds"]["correlation"]["heldout_windows"] == 15
    assert found["training"][0]["tracks"] == 4


def test_the_python_api_gives_the_same_item(music, input_folder, report, tmp_path):
    sound, rate = soundfile.read(input_folder / "copy.wav", dtype="float32")
    model = jukejax.load(small_bundle.write(tmp_path))
    item = model.audit(sound, model.open_corpus(music), sample_rate=rate)
    (expected,) = [item for item in report[1]["items"] if item["name"] == "copy"]
    assert json.loads(json.dumps(item)) == expected | {"name": "audio"}
    with pytest.raises(ValueError, match=r"^corpus=.*has no training|is no|missing"):
        model.audit(sound, tmp_path)


def test_the_page_plays_the_copy_beside_its_original(report):
    output, _ = report
    page = (output / "report.html").read_text()
    assert "Generated, 5 to 11 s" in page
    made, original = (
        audio.load_audio(output / "assets" / f"000_copy_00_{which}.wav").samples[:, 0]
        for which in ("generated", "original")
    )
    both = slice(RATE, 7 * RATE)  # a second of context before
    assert np.corrcoef(made[both], original[both])[0, 1] > 0.99


@pytest.mark.usefixtures("report")  # which has written the index
def test_new_music_exits_with_code_0_and_the_index_is_reused(music, input_folder, tmp_path):
    (index,) = music.glob("audit/recordings-*/index.npz")
    before = index.stat().st_mtime_ns
    new = input_folder / "new.wav"
    run_in_process("audit", f"--input={new}", f"--training={music}", f"--output={tmp_path}", code=0)
    assert index.stat().st_mtime_ns == before


def test_the_users_prompt_does_not_count_as_copied(music, input_folder, tmp_path):
    """A sample that continues a training track is the user's up to the end of the prompt."""
    known = corpus.open_dataset(music).read_track("train", 1).mean(axis=1)[: 5 * RATE]
    for item, (prompt, sound) in enumerate(
        [(5.0, np.concatenate([known, new_music(1, 5.0)])), (1.0, known)]
    ):
        folder = tmp_path / f"item_{item:03d}"
        folder.mkdir()
        audio.write_wav(folder / "level_0.wav", sound)
        (folder / "meta.json").write_text(json.dumps({"prompt_seconds": prompt}))
    recordings, _ = open_training([str(music)])
    auditor = Auditor(AudioCorpus(recordings, music / "audit"), None)
    apart, beyond = (auditor.audit_sound(sound) for sound in pieces.find_sounds(str(tmp_path)))
    assert [second["verdict"] for second in apart["timeline"][:5]] == ["prompt"] * 5
    assert apart["verdict"] == "novel"
    assert beyond["verdict"] == "copied"
    assert beyond["passages"][1]["start"] == 1


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    synthetic_codes.write(folder, 0.1, items=2, seconds=60.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_corpus, "NULL_SECONDS", 120)  # a fifth of the time
        yield folder


def test_copied_codes_are_flagged_by_runs_and_by_nearness(codes):
    codec = Codec.load(codes / "vqvae")
    _, dataset = open_training([str(codes / "codes")])
    auditor = Auditor(None, CodeCorpus(dataset, codes / "codes/audit", codec.codebook(2)), codec)
    sounds = pieces.find_sounds(str(codes / "samples"))
    copied, novel = (auditor.audit_sound(sound) for sound in sounds)
    assert novel["verdict"] == "novel"
    assert copied["verdict"] == "copied"
    flagged = [s for s, second in enumerate(copied["timeline"]) if second["verdict"] == "copied"]
    assert flagged == list(COPIED)
    seconds = [copied["timeline"][s]["evidence"] for s in COPIED]
    assert min(second["nearness_3"] for second in seconds) > 0.95
    assert min(second["run_bits"] for second in seconds) > 10_000
    passage = next(p for p in copied["passages"] if p["verdict"] == "copied")
    assert passage["track"] == "track 0"
    assert passage["offset_seconds"] == pytest.approx(COPIED.start + 777 * 128 / RATE, abs=0.01)


def test_a_failed_audit_resumes_with_the_same_result(codes, tmp_path, monkeypatch):
    flags = [f"--input={codes / 'samples'}", f"--training={codes / 'codes'}"]
    output, finished, audit_sound = tmp_path / "failed", [], Auditor.audit_sound

    def fail_at_second(self, sound):
        if finished:
            raise RuntimeError("at the second sound")
        finished.append(sound)
        return audit_sound(self, sound)

    with monkeypatch.context() as patch:
        patch.setattr(Auditor, "audit_sound", fail_at_second)
        with pytest.raises(RuntimeError, match="at the second sound"):
            run_in_process("audit", *flags, f"--output={output}")
    assert len(list((output / ".work").glob("*.json"))) == 1
    assert not (output / "audit.json").exists()
    run_in_process("audit", *flags, f"--output={output}", code=3)
    run_in_process("audit", *flags, f"--output={tmp_path / 'uninterrupted'}", code=3)
    expected = (tmp_path / "uninterrupted" / "audit.json").read_bytes()
    assert (output / "audit.json").read_bytes() == expected
    assert not list((output / ".work").glob("*.json"))


@pytest.mark.slow
def test_a_killed_audit_resumes_with_the_same_result(codes, tmp_path):
    flags = [f"--input={codes / 'samples'}", f"--training={codes / 'codes'}"]
    cache, output = tmp_path / "cache", tmp_path / "killed"
    flags += [f"--cache={cache}"]
    kept = output / ".work"
    stop_when(
        "audit", *flags, f"--output={output}", ready=lambda: len(list(kept.glob("*.json"))) == 1
    )
    assert not (output / "audit.json").exists()
    run_in_process("audit", *flags, f"--output={output}", code=3)
    run_in_process("audit", *flags, f"--output={tmp_path / 'whole'}", code=3)
    assert (output / "audit.json").read_bytes() == (tmp_path / "whole/audit.json").read_bytes()
    assert not list(kept.glob("*.json"))


def test_landmarks_are_stored_track_by_track(music, tmp_path, monkeypatch):
    recordings, _ = open_training([str(music)])

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(audit_corpus.Index, "build", stop)
        with pytest.raises(KeyboardInterrupt):
            AudioCorpus(recordings, tmp_path)
    assert len(list(tmp_path.glob("recordings-*/track_*.npz"))) == 4
    monkeypatch.setattr(AudioCorpus, "_measure_heldout", lambda self: {"votes": []})
    monkeypatch.setattr(audit_corpus, "extract_landmarks", stop)  # no track is read a second time
    AudioCorpus(recordings, tmp_path)
    assert [path.name for path in tmp_path.glob("recordings-*/*.npz")] == ["index.npz"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input=x"], "--input, --training and --output are needed"),
        (["--input=/nowhere", "--training={music}"], "--input=/nowhere does not exist"),
        (["--input={music}", "--training={music}"], "holds no sound file"),
        (["--input={input}", "--training={music},{music}"], "two folders of audio"),
        (["--input={input}", "--training={input}"], "has no dataset.json"),
        (["--input={input}", "--training={music}", "--vqvae=x"], "--vqvae is for code shards"),
        (["--input={input}", "--training={codes}"], "new has nothing to compare with"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(
    flags, message, music, input_folder, codes, tmp_path
):
    names = {"music": music, "input": input_folder / "new.wav", "codes": codes / "codes"}
    flags = [flag.format(**names) for flag in flags]
    if len(flags) > 1:
        flags.append(f"--output={tmp_path}")
    done = run_in_process("audit", *flags, code=2)
    assert message in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_codes_of_another_corpus_are_refused(music, codes):
    with pytest.raises(ValueError, match="were not made of this audio"):
        open_training([str(music), str(codes / "codes")])


@pytest.mark.usefixtures("report")  # which has written the index of the old corpus
def test_a_changed_corpus_gets_a_new_index(music, tmp_path):
    copy = tmp_path / "music"
    shutil.copytree(music, copy)
    info = json.loads((copy / "dataset.json").read_text())
    before = {path.name for path in (copy / "audit").glob("recordings-*")}
    (copy / "dataset.json").write_text(json.dumps(info | {"corpus_hash": "another"}))
    others = copy / "audit" / "recordings-of-mine"
    others.mkdir()
    recordings, _ = open_training([str(copy)])
    AudioCorpus(recordings, copy / "audit")
    after = {path.name for path in (copy / "audit").glob("recordings-*")} - {others.name}
    assert len(after) == 1
    assert after.isdisjoint(before)
    assert others.is_dir()


@pytest.mark.slow
def test_many_held_out_tracks_set_thresholds_for_every_window_length(tmp_path, monkeypatch):
    """Of 40 tracks half are used, 30 s of each, which hold windows of 9 s."""
    monkeypatch.setattr(audit_corpus, "NULL_SECONDS", 600)  # as without the fixture `codes`
    random = np.random.default_rng(0)
    info = {"codebook_size": 64, "vqvae": {"hash": "x"}, "separator": "none", "source": ""}
    vocabulary = vocabularies.Vocabulary.build(["a"], ["b"])
    with DatasetWriter(tmp_path, kind="codes", vocabulary=vocabulary, **info) as writer:
        for i in range(42):
            count = int(32 * 44100 / 128)
            drawn = {f"level_{k}": random.integers(0, 64, count * 4 ** (2 - k)) for k in range(3)}
            track = corpus.Track(f"t{i}", "a", ("b",), content=str(i))
            writer.add("train" if i < 2 else "heldout", track, **drawn)
    _, dataset = open_training([str(tmp_path)])
    found = CodeCorpus(dataset, tmp_path / "audit", random.normal(size=(64, 4)))
    counts = {kind: len(limit.null) for kind, limit in found.thresholds.items()}
    assert counts.keys() == {"run_bits", "nearness_1", "nearness_3", "nearness_9"}
    assert min(counts.values()) >= 20 * (30 - 9)
