"""`evaluate` from the command line: a small corpus, tracks of a small model, and the model."""

import functools
import json
import re
import shutil

import jax
import numpy as np
import pytest

from jukejax.analysis import codebook
from jukejax.common import files
from jukejax.data import audio, corpus, decoding, vocabularies
from jukejax.data.labels import make_label_vector
from jukejax.data.sample_items import Item, read_items
from jukejax.data.writer import DatasetWriter
from jukejax.evaluation import heldout_bits, model_figures, window_joins
from jukejax.inference.loaded_model import Model
from jukejax.models.prior import Prior
from jukejax.models.prior_losses import compute_example_bits
from jukejax.pages import pictures
from jukejax.preparation import house
from jukejax.weights import bundle
from jukejax.weights.codec_identity import identify_codec
from tests.support import small_bundle, small_codec
from tests.support.command import run_in_process
from tests.support.pages import write_sketch

SECONDS = 5.0
LEVELS = (2, 1)  # that have a prior
TOP = 4 * 64  # codes of a generated track: four windows of the top level


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Writes model/, codes/, samples/ and music/ of two tracks, and audio/ of two, played twice."""
    folder = tmp_path_factory.mktemp("evaluate")
    bundle.save_part(folder / "model/vqvae", small_codec.DESCRIPTION, small_codec.weights())
    configs = small_bundle.configs("none")
    for level in LEVELS:
        part = f"level_{level}"
        weights = small_bundle.random_weights(configs[part])
        description = small_bundle.describe(configs[part])
        description["vqvae"] = identify_codec(small_codec.weights())
        bundle.save_part(folder / "model" / part, description, weights)
    bundle.save_bundle(folder / "model", small_bundle.FACTS | {"levels": sorted(LEVELS)})
    codec = Model(folder / "model").codec
    vocabulary = vocabularies.Vocabulary.build(["anna"], ["house"])
    audio_writer = DatasetWriter(
        folder / "audio", kind="audio", vocabulary=vocabulary, separator="none"
    )
    codes_writer = DatasetWriter(
        folder / "codes",
        kind="codes",
        vocabulary=vocabulary,
        codebook_size=16,
        vqvae=codec.identity,
        separator="none",
        source="x",
    )
    (folder / "music").mkdir()
    random = np.random.default_rng(0)
    with audio_writer, codes_writer:
        for number in range(2):
            sound = house.track(number, seconds=SECONDS).mix
            audio.write_wav(folder / f"music/{number}.wav", sound)
            track = corpus.Track(f"h{number}", "anna", ("house",), content=str(number))
            audio_writer.add("heldout", track, audio=audio.to_int16(sound))
            codes = {f"level_{i}": random.integers(0, 16, 512 * 4 ** (2 - i)) for i in range(3)}
            codes_writer.add("heldout", track, **codes)
        for number in range(2):  # half a second later, for distances, which take four tracks
            sound = np.roll(audio.load_audio(folder / f"music/{number}.wav").samples, 22_050, 0)
            track = corpus.Track(f"h{number} again", "anna", ("house",), content=f"{number} again")
            audio_writer.add("heldout", track, audio=audio.to_int16(sound))
    for number in range(2):
        item = folder / f"samples/item_{number:03d}"
        item.mkdir(parents=True)
        codes = {f"level_{i}": random.integers(0, 4, TOP * 4 ** (2 - i)) for i in range(3)}
        np.savez(item / "codes.npz", **codes)
        sound = house.track(5 + number, seconds=4.0).mix
        for level in range(3):
            audio.write_wav(item / f"level_{level}.wav", sound)
        meta = {"seconds": TOP * 128 / 44100, "hop_fraction": {"level_2": 0.5}}
        (item / "meta.json").write_text(json.dumps(meta))
    return folder


def means(report, part, side="reference"):
    """Returns {metric: mean} of a part of the table."""
    intervals = {row["metric"]: row[side] for row in report["rows"] if row["part"] == part}
    return {metric: value["mean"] for metric, value in intervals.items() if value is not None}


@pytest.fixture(scope="module")
def reported(place, tmp_path_factory):
    """Runs the command; returns its output, its folder and the content of evaluate.json."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:  # rendering is tested in tests/pages
        patch.setattr(pictures, "write_picture", write_sketch)
        done = run_in_process(
            "evaluate",
            f"--input={place / 'samples'}",
            f"--reference={place / 'audio'}",
            f"--model={place / 'model'}",
            f"--codes={place / 'codes'}",
            f"--output={folder}",
            "--model_seconds=1",
            "--bootstrap=50",
        )
    return done.stdout, folder, json.loads((folder / "evaluate.json").read_text())


def test_every_part_is_measured_and_shown(reported):
    printed, folder, report = reported
    parts = list(dict.fromkeys(row["part"] for row in report["rows"]))
    assert parts == [
        "sound and rhythm",
        "distance in mel statistics",
        *(f"reconstruction, level {level}" for level in (2, 1, 0)),
        *(f"codebook, level {level}" for level in (2, 1, 0)),
        "distance in hidden states of the level 2 prior",
        *(f"joins of windows, level {level}" for level in LEVELS),
        *(f"prior on held-out codes, level {level}" for level in LEVELS),
    ]
    for part in parts:
        assert re.search(f"^{re.escape(part)}$", printed, re.MULTILINE)
    for metric, value in means(report, "sound and rhythm").items():
        tracks = [track[metric] for track in report["tracks"]["reference"]]
        tracks = [number for number in tracks if number is not None]
        assert value == pytest.approx(np.mean(tracks)), metric
    for number, track in enumerate(report["tracks"]["reference"]):
        bpm = house.track(number % 2, seconds=5.0).bpm
        assert track["tempo_bpm"] == pytest.approx(bpm, rel=0.01)
    used = means(report, "codebook, level 2", "input")
    assert used["usage"] == 0.25  # codes 0 to 3 of 16
    assert 3.9 < used["perplexity"] <= 4.0
    for level in LEVELS:
        by_track = report["heldout_bits"][f"level_{level}"]
        assert set(by_track) == {"h0", "h1"}
        part = means(report, f"prior on held-out codes, level {level}")
        for metric in ("bits_per_code", "label_changes", "label_bits"):
            values = [figures[metric] for figures in by_track.values()]
            assert part[metric] == pytest.approx(np.mean(values))
    page = (folder / "index.html").read_text()
    pictures = re.findall(r'src="(assets/[^"]+)"', page)
    assert len(pictures) > 10
    for picture in pictures:
        assert (folder / picture).read_bytes()[:4] == b"\x89PNG"


def test_joins_are_at_the_starts_of_new_windows(place):
    """Plans windows of 64 codes every 32 codes, for a top level of 256 codes."""
    model = Model(place / "model")
    seconds = TOP * 128 / 44100
    common = {"seconds": seconds, "hop_fraction": {"level_2": 0.5, "level_1": 0.5}}

    def joins(level, **meta):
        return window_joins.find_joins(model, Item(place, common | meta, 1, "item_000"), level)

    assert joins(2) == [64, 96, 128, 160, 192, 224]
    assert joins(2, prompt_seconds=100 * 128 / 44100)[0] == 100
    sampled = {"level_1": 1.0}
    assert joins(2, mode="upsample", temperature=sampled) == []
    assert joins(2, mode="upsample", temperature=sampled | {"level_2": 1.0}) == []
    assert joins(1, mode="upsample", temperature=sampled)[0] == 64
    reroll = {"mode": "reroll", "prompt_seconds": 0.0, "temperature": {"level_2": 1.0}}
    rerolled = joins(2, reroll=[80.5 * 128 / 44100, 119.5 * 128 / 44100], **reroll)
    assert rerolled[0] == 80
    assert rerolled[-1] == 120
    assert joins(1, reroll=[0.1, 0.2], **reroll) == []


@pytest.mark.slow
def test_bench_measures_the_cost_of_weights_in_eight_bits(place):
    flags = (f"--model={place / 'model'}", f"--codes={place / 'codes'}", "--json")
    rows = [
        json.loads(line) for line in run_in_process("bench", "decode", *flags).stdout.splitlines()
    ]
    assert [row["level"] for row in rows] == sorted(LEVELS)
    model = Model(place / "model")
    for row in rows:
        bits = heldout_bits.measure_heldout_bits(
            model, place / "codes", row["level"], max_windows=32
        )
        mean = np.mean([figures["bits_per_code"] for figures in bits.values()])
        assert row["bits_per_code"] == pytest.approx(mean, rel=1e-3)
        rounded = row["bits_per_code_int8"] - row["bits_per_code"]
        assert row["cost_in_bits"] == pytest.approx(rounded, abs=2e-3)
        assert 0 < abs(row["cost_in_bits"]) < 0.05


def test_processed_and_late_files_are_compared_with_their_originals(place, tmp_path):
    soft = tmp_path / "soft"
    soft.mkdir()
    for path in (place / "music").glob("*.wav"):
        sound, _ = decoding.decode_file(path)
        late = np.concatenate([np.zeros((1000, sound.shape[1])), sound])
        audio.write_wav(soft / f"{path.stem}.flac", 0.9 * late.astype(np.float32))
    done = run_in_process(
        "evaluate",
        f"--input={soft}",
        f"--reference={place / 'music'}",
        f"--output={tmp_path / 'out'}",
        "--paired",
    )
    report = json.loads((tmp_path / "out/evaluate.json").read_text())
    errors = means(report, "input against its originals", "input")
    assert (
        "2 inputs are shifted against their originals, each by 1,000 samples (22.7 ms) later"
        in (done.stderr)
    )
    assert errors["shift_samples"] == 1000
    assert errors["spectral_convergence_db"] == pytest.approx(-20, abs=0.05)
    assert errors["mel_db"] == pytest.approx(-20 * np.log10(0.9), abs=0.1)
    sides = [means(report, "sound and rhythm", side) for side in ("input", "reference")]
    assert sides[0]["loudness_lufs"] - sides[1]["loudness_lufs"] == pytest.approx(-0.92, abs=0.02)
    assert sides[0]["tempo_bpm"] == pytest.approx(sides[1]["tempo_bpm"], rel=1e-3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=x"], "--input and --output are needed"),
        (["--input=nowhere", "--output=x"], "--input=nowhere does not exist"),
        (["--input=.", "--output=x", "--codes=y"], "y has no dataset.json"),
        (["--input=.", "--output=x", "--seconds=-1"], "--seconds=-1.0 must be 0 or more"),
    ],
)
def test_bad_flags_are_reported_in_one_line(flags, message):
    done = run_in_process("evaluate", *flags, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_codes_of_another_vqvae_are_refused(place, tmp_path):
    shutil.copytree(place / "codes", tmp_path / "codes")
    about = files.read_json(tmp_path / "codes/dataset.json")
    about["vqvae"] = {"hash": "other"}
    files.write_json(tmp_path / "codes/dataset.json", about)
    with pytest.raises(ValueError, match="made by another VQ-VAE"):
        heldout_bits.measure_heldout_bits(
            Model(place / "model"), tmp_path / "codes", 2, max_windows=1
        )


def test_heldout_bits_equal_those_of_training(place, reported):
    """Computes bits window by window, as `training.tasks.prior` does, with the shards' labels."""
    _, _, report = reported
    config = small_bundle.configs("none")["level_2"]
    model, params = Prior(config), small_bundle.random_weights(config)["params"]
    predict = jax.jit(functools.partial(model.apply, method=model.compute_predictions))
    dataset = corpus.open_dataset(place / "codes")
    for number, name in enumerate(("h0", "h1")):
        windows = dataset.read_codes("heldout", number)[2].astype(np.int32).reshape(-1, 64)
        starts = 64 * 128 * np.arange(len(windows))
        bits, codes = [], []
        for artist, genres in ((1, (1,)), (0, (0,))):
            rows = [make_label_vector(512 * 128, x, 64 * 128, artist, genres, 2) for x in starts]
            predictions = predict({"params": params}, windows, labels=np.array(rows))
            bits.append(float(compute_example_bits(config, predictions, windows).mean()))
            codes.append(np.argmax(predictions.codes, axis=-1))
        figures = report["heldout_bits"]["level_2"][name]
        assert figures["num_codes"] == 512
        assert figures["bits_per_code"] == pytest.approx(bits[0], rel=1e-5)
        assert figures["label_bits"] == pytest.approx(bits[1] - bits[0], abs=1e-5)
        changed = float((codes[0] != codes[1]).mean())
        assert figures["label_changes"] == pytest.approx(changed, abs=1.5 / 512)
        assert changed > 1.5 / 512


def test_codes_of_generated_tracks_are_counted(place):
    counts = model_figures.count_sampled_codes(place / "samples", 3, 16)
    assert [len(level) for level in counts] == [2, 2, 2]
    assert [level[0].sum() for level in counts] == [16 * TOP, 4 * TOP, TOP]
    assert codebook.measure_usage(counts[2][0]).used == 4


def test_joins_of_parallel_windows_are_unknown(place):
    model = Model(place / "model")
    (item, _) = read_items(place / "samples")
    # Windows of 64 codes, half of each new: the first join is after 64 codes, then every 32.
    assert window_joins.find_joins(model, item, 2) == list(range(64, TOP, 32))
    item.meta["schedule"] = "parallel"
    assert window_joins.find_joins(model, item, 1) == []
    assert window_joins.find_joins(model, item, 2) != []  # the top level is always drawn in order
