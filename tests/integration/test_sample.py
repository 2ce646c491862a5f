"""Every mode of `sample` on a small bundle: fixed codes stay, the others are sampled."""

import json

import numpy as np
import pytest
import soundfile

from jukejax.data.codes_file import read_codes_file
from jukejax.inference.loaded_model import Model
from jukejax.sampling.initial_state import inherit_labels, read_initial_state
from jukejax.weights import bundle
from tests.support import small_bundle
from tests.support.small_sample import SECONDS, TOP, make_request, sample


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none"))


def test_tracks_depend_on_their_number_and_the_seed_not_on_the_batch(model, tmp_path):
    several = sample(model, tmp_path / "several", items=range(2), levels=(2,))
    alone = sample(model, tmp_path / "alone", items=range(1, 2), levels=(2,))
    assert (tmp_path / "alone" / "item_001" / "level_2.wav").exists()
    np.testing.assert_array_equal(several[1][2], alone[0][2])
    assert (several[0][2] != several[1][2]).any()
    other = sample(model, tmp_path / "other", levels=(2,), seed=1)
    assert (other[0][2] != several[0][2]).any()


@pytest.mark.slow
def test_streaming_does_not_change_the_codes(model, tmp_path):
    plain = sample(model, tmp_path / "plain", levels=(2, 1))
    streamed = sample(model, tmp_path / "heard", levels=(2, 1), stream=True)
    for level in (2, 1):
        np.testing.assert_array_equal(plain[0][level], streamed[0][level])


@pytest.fixture(autouse=True)
def without_pages(monkeypatch):
    """Leaves out the pages with their pictures, which tests/pages checks and `track` has."""
    monkeypatch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)


@pytest.fixture(scope="module")
def track(model, tmp_path_factory):
    """A finished item folder."""
    output = tmp_path_factory.mktemp("track") / "out"
    sample(model, output)
    assert (output / "index.html").exists()
    return output / "item_000"


def test_continue_keeps_the_codes_and_continues_them(model, track, tmp_path):
    before = read_codes_file(track / "codes.npz")
    longer = sample(
        model, tmp_path, mode="continue", codes=str(track / "codes.npz"), seconds=SECONDS + 0.1
    )
    meta = json.loads((tmp_path / "item_000" / "meta.json").read_text())
    assert meta["prompt_seconds"] == pytest.approx(SECONDS, abs=1e-6)
    assert meta["seconds"] > SECONDS + 0.1
    for level in range(3):
        np.testing.assert_array_equal(longer[0][level][: len(before[level])], before[level])
        assert len(longer[0][level]) == (TOP + 35) * 4 ** (2 - level)


def test_end_of_an_earlier_track_can_be_sampled_again(model, track):
    before = read_codes_file(track / "codes.npz")
    values = {"mode": "continue", "codes": str(track / "codes.npz"), "prompt_seconds": 0.2}
    start = read_initial_state(model, make_request(**values))
    for level, codes in start.codes.items():
        length = int(0.2 * 44100 / 128) * 4 ** (2 - level)
        np.testing.assert_array_equal(codes, before[level][:length])
    assert start.prompt_seconds == pytest.approx(0.2, abs=128 / 44100)


@pytest.mark.parametrize(
    ("mode", "more"), [("continue", {"seconds": 1.0}), ("reroll", {"reroll": (0.1, 0.2)})]
)
def test_labels_of_the_source_sample_are_inherited(model, tmp_path, mode, more, capsys):
    made = tmp_path / "labeled"
    sample(model, made, artist="ben", genre="house", levels=(2,))
    values = {"mode": mode, "codes": str(made / "item_000" / "codes.npz"), "seconds": None} | more
    values |= {"levels": (2,)}
    inherited = inherit_labels(model, make_request(**values))
    assert (inherited.artist, inherited.genre) == ("ben", "house")
    assert "was made: --artist='ben', --genre='house'" in capsys.readouterr().err
    explicit = inherit_labels(model, make_request(artist="anna", **values))
    assert (explicit.artist, explicit.genre) == ("anna", None)
    meta = made / "item_000" / "meta.json"
    meta.write_text(meta.read_text().replace("house", "polka"))
    assert inherit_labels(model, make_request(**values)).genre is None
    assert "no genre 'polka'" in capsys.readouterr().err


def test_upsampling_keeps_the_coarsest_codes_and_their_length(model, track, tmp_path):
    before = read_codes_file(track / "codes.npz")
    values = {"mode": "upsample", "codes": str(track / "codes.npz"), "seconds": None, "seed": 5}
    (made,) = sample(model, tmp_path / "both", levels=(1, 0), **values)
    np.testing.assert_array_equal(made[2], before[2])
    assert (made[1] != before[1]).any()
    assert not (tmp_path / "both" / "item_000" / "level_2.wav").exists()
    (finest,) = sample(model, tmp_path / "finest", levels=(0,), **values)
    np.testing.assert_array_equal(finest[1], before[1])
    (all_levels,) = sample(model, tmp_path / "all", levels=(2, 1, 0), **values)
    np.testing.assert_array_equal(all_levels[2], before[2])
    assert (tmp_path / "all" / "item_000" / "level_2.wav").exists()


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_audio_files_are_upsampled_from_their_coarsest_codes(model, tmp_path, kind):
    time = np.arange(48000 // 2) / 48000
    sound = 0.3 * np.sin(2 * np.pi * 440 * time)[:, None].repeat(2, axis=1)
    path = tmp_path / f"tone.{kind}"
    soundfile.write(path, sound, 48000)
    values = {"mode": "upsample", "prompt": str(path), "seconds": None, "prompt_seconds": 0.3}
    (made,) = sample(model, tmp_path / "out", levels=(1,), **values)
    start = read_initial_state(model, make_request(levels=(1,), **values))
    np.testing.assert_array_equal(made[2], start.codes[2])
    assert sorted(made) == [1, 2]
    assert len(made[1]) == 4 * (int(0.3 * 44100) // 128)


def test_audio_prompt_is_kept_at_every_level(model, track, tmp_path):
    values = {"mode": "primed", "prompt": str(track / "level_0.wav"), "prompt_seconds": 0.2}
    (made,) = sample(model, tmp_path, levels=(2, 1), **values)
    start = read_initial_state(model, make_request(**values))
    for level in (2, 1):
        given = start.codes[level]
        np.testing.assert_array_equal(made[level][: len(given)], given)
        assert len(made[level]) > len(given) > 0
    assert start.prompt_seconds == pytest.approx(0.2, abs=128 / 44100)


@pytest.mark.slow
def test_range_is_rerolled_and_both_sides_stay(model, track, tmp_path):
    before = read_codes_file(track / "codes.npz")
    values = {"mode": "reroll", "codes": str(track / "codes.npz"), "seconds": None, "candidates": 3}
    (made,) = sample(model, tmp_path, reroll=(0.1, 0.2), **values)
    first, last = int(0.1 * 44100 / 128), -(-int(0.2 * 44100) // 128)
    for level in (2, 1, 0):
        width = 4 ** (2 - level)
        changed = np.flatnonzero(made[level] != before[level])
        assert len(made[level]) == len(before[level])
        assert first * width <= changed.min()
        assert changed.max() < last * width
        assert len(changed) > 0.5 * (last - first) * width
    meta = json.loads((tmp_path / "item_000" / "meta.json").read_text())
    assert meta["reroll"] == [0.1, 0.2]
    assert meta["prompt_seconds"] == 0.1


def test_finer_levels_are_dropped_when_only_the_top_is_rerolled(model, track, tmp_path):
    values = {"mode": "reroll", "codes": str(track / "codes.npz"), "seconds": None}
    (made,) = sample(model, tmp_path, reroll=(0.1, 0.2), levels=(2,), **values)
    assert list(made) == [2]


def test_timing_labels_place_the_track_in_a_piece(model, tmp_path):
    start = read_initial_state(model, make_request(total_seconds=30.0, offset_seconds=12.0))
    assert (start.labels[2].total_samples, start.labels[2].offset) == (30 * 44100, 12 * 44100)
    start = read_initial_state(model, make_request(offset_seconds=12.0))
    assert start.labels[2].total_samples == 12 * 44100 + TOP * 128


def test_missing_level_ends_the_run_with_a_message(model, capsys):
    partial = Model(model.folder)
    partial.levels = [1, 2]
    assert read_initial_state(partial, make_request()).levels == [2, 1]
    assert "no level 0: stopping at level 1" in capsys.readouterr().err
    partial.levels = [0, 1]
    with pytest.raises(ValueError, match="has no prior for level 2; it has 0, 1"):
        read_initial_state(partial, make_request())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": (1, 0)}, "level 1 needs 150 codes of level 2, the starting codes have 0"),
        ({"lyrics": "la la"}, "made without lyrics; remove --lyrics_file"),
        ({"genre": "polka"}, "no genre 'polka'"),
        ({"genre": "house, house, house"}, "level 2: 3 genres are more than the model takes, 2"),
        ({"mode": "continue"}, "nothing is left to sample: the given codes fill all 0.44 s"),
        ({"mode": "upsample", "seconds": 2.0}, "--seconds=2 is more than the 0.44 s"),
        ({"mode": "reroll", "reroll": (5.0, 6.0)}, "--reroll=5:6 begins after the end"),
        ({"mode": "reroll", "reroll": (0.2, 6.0)}, "--reroll=0.2:6 ends after the end of the tra"),
    ],
)
def test_requests_that_do_not_fit_the_model_are_refused(model, track, values, message):
    if values.get("mode"):
        values = {"codes": str(track / "codes.npz"), "seconds": None} | values
    if values.get("mode") == "continue":
        values["seconds"] = SECONDS
    with pytest.raises(ValueError, match=message):
        read_initial_state(model, make_request(**values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "primed", "seconds": 0.3}, "the given codes fill all 0.30 s"),
        ({"mode": "upsample", "seconds": 2.0}, "--seconds=2 is more than the 0.44 s"),
    ],
)
def test_recordings_of_wrong_length_are_refused_before_they_are_encoded(
    model, track, monkeypatch, values, message
):
    monkeypatch.setattr(type(model.codec), "encode", None)
    with pytest.raises(ValueError, match=message):
        read_initial_state(model, make_request(prompt=str(track / "level_0.wav"), **values))


def test_codes_of_another_model_are_refused(model, track, tmp_path):
    codes = read_codes_file(track / "codes.npz")
    np.savez(tmp_path / "codes.npz", level_2=codes[2] + 16)
    with pytest.raises(ValueError, match=r"does not fit .* levels of 16 codes"):
        read_initial_state(
            model, make_request(mode="continue", codes=str(tmp_path / "codes.npz"), seconds=2.0)
        )
    np.savez(tmp_path / "codes.npz", level_2=codes[2], level_1=codes[1][:-4])
    with pytest.raises(ValueError, match="has 596 of the 600 codes of level 1"):
        read_initial_state(
            model,
            make_request(
                mode="reroll",
                codes=str(tmp_path / "codes.npz"),
                seconds=None,
                reroll=(0.1, 0.2),
                levels=(2, 1),
            ),
        )


def test_codes_of_another_vqvae_and_without_codes_are_refused(model, track, tmp_path):
    meta = json.loads((track / "meta.json").read_text())
    assert meta["vqvae"] == model.codec.identity
    path = tmp_path / "codes.npz"
    np.savez(path, level_2=np.zeros(8, np.int64), level_1=np.zeros(0, np.int64))
    request = make_request(mode="continue", codes=str(path), seconds=2.0)
    with pytest.raises(ValueError, match=r"--codes=.* holds no code of level 1"):
        read_initial_state(model, request)
    np.savez(path, level_2=np.zeros(8, np.int64))
    meta["vqvae"] = {"codes_hash": "another"}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"--codes=.* was made with another VQ-VAE than that of"):
        read_initial_state(model, request)
    np.savez(path)
    (tmp_path / "meta.json").unlink()
    with pytest.raises(ValueError, match=r"--codes=.* holds no codes"):
        read_initial_state(model, request)


def test_a_bundle_with_another_vqvae_under_its_priors_is_refused(tmp_path):
    folder = small_bundle.write(tmp_path, lyrics="none", levels=(2,))
    other = small_bundle.random_weights(small_bundle.VQVAE, seed=9)
    bundle.save_part(folder / "vqvae", small_bundle.describe(small_bundle.VQVAE), other)
    with pytest.raises(ValueError, match=r"level_2 was trained on codes of another VQ-VAE than"):
        Model(folder)
