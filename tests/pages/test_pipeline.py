"""The page of a whole pipeline, and the readers of its folders."""

import pytest

from jukejax.data import audio
from jukejax.pages import pictures, report
from jukejax.pages.pipeline import PipelinePaths
from jukejax.pages.runs import Corpus, TrainingRun
from tests.support.pages import (
    EVIL,
    check_page,
    read_words,
    tone,
    write_datasets,
    write_json,
    write_run,
    write_samples,
    write_sketch,
)


@pytest.fixture(autouse=True, scope="module")
def sketches():
    """Renders no pictures: test_pictures.py and test_report.py do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "write_picture", write_sketch)
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Writes every folder of a pipeline; returns the path of its page and its key figures."""
    root = tmp_path_factory.mktemp("pipeline")
    write_datasets(root)
    write_samples(root / "samples")
    for name, start in (("vqvae", 0.2), ("control", 0.4)):
        held = {f"level_{k}/spectral_convergence": start * (k + 1) for k in range(3)}
        write_run(root / name, "loss", [5.0, 4.0, 3.5], held)
    for name in ("original", "level_0", "level_1", "level_2"):
        (root / "vqvae/reconstruction").mkdir(exist_ok=True)
        audio.write_wav(root / f"vqvae/reconstruction/{name}.wav", tone())
    for level, bits in ((2, 4.5), (1, 4.25), (0, 3.0)):
        held = {"bits_per_code": bits, "histogram_entropy": 5.0, "improvement": 1 - bits / 5}
        write_run(root / f"prior_{level}", "bits_per_code", [6.0, 5.0, bits], held)
    (root / "commands.txt").write_text("python -m jukejax.train --config='a<b'\n")
    write_json(root / "timings.json", {"prepare": 30, "train the <VQ-VAE>": 95.4})
    write_json(root / "bundle/model.json", {"levels": [2, 1, 0], "licence": "ours"})
    index, figures = report.write_pipeline_page(
        root / "page",
        PipelinePaths(
            audio=root / "audio",
            codes=root / "codes",
            vqvae=root / "vqvae",
            control=root / "control",
            priors=[root / f"prior_{level}" for level in (2, 1, 0)],
            bundle=root / "bundle",
            samples=[root / "samples"],
            commands=root / "commands.txt",
            timings=root / "timings.json",
        ),
    )
    return index, dict(figures)


def test_the_page_has_all_players_and_pictures(page):
    _, links = check_page(page[0])
    assert len(links.sounds) == 4 + 4  # the samples' levels; original and reconstructions
    assert len(links.images) == 4 + 4 + 2 + 3 + 3  # mel pictures, curves, codebooks
    assert all(sound["src"].startswith("assets/") for sound in links.sounds)


def test_results_are_compared_with_the_control_and_the_histogram(page):
    words = read_words(page[0].read_text("utf-8"))
    for row in (
        "2, coarsest 0.6000 1.2000 50.0 % lower",
        "0, finest 0.2000 0.4000 50.0 % lower",
        "2, coarsest 4.500 5.000 10.0 % ✗ missed",
        "1, middle 4.250 5.000 15.0 % ✓ reached",
        "0, finest 3.000 5.000 40.0 % ✓ reached",
        "2, coarsest 4 of 8 50.0 % 1.97 bits 4",
        "0, finest 2 of 8 25.0 % 1.00 bits 2",
        "prepare 30 s",
        "train the <VQ-VAE> 1 min 35 s",
        "in all 2 min 05 s",
        f"track 1 {EVIL} deep house training 2.0 s 122.5",
        f"track 2 {EVIL} deep house held out 2.0 s 123.5",
        "vocals removed by repet",
        "python -m jukejax.train --config='a<b'",
        "The corpus has 6.0 s of music (deep house). The model generated 2 tracks of 6.5 s",
        "computed in 1 min 20 s",
        "per second of music 12.3 s",
        "Level 1: computed in 16 s.",
    ):
        assert row in words
    assert "Left out" not in words


def test_key_figures_cover_all_stages(page):
    figures = {name: value.replace("\u00a0", " ") for name, value in page[1].items()}
    assert figures["tracks"] == "3 (1 held out)"
    assert figures["spectral convergence, level 1"] == "0.400, 50.0 % below a frozen codebook"
    assert figures["bits per code, level 0"] == "3.00 of 5.00 (40.0 % saved)"
    assert figures["computing per second of music"] == "12.3 s"
    assert figures["time in all"] == "2 min 05 s"


def test_the_page_of_no_folders_names_what_is_left_out(tmp_path):
    index, figures = report.write_pipeline_page(
        tmp_path / "page", PipelinePaths(vqvae=tmp_path / "nowhere")
    )
    text, _ = check_page(index)
    assert text.count("Left out") >= 8
    assert figures == []


def test_an_unfinished_pipeline_gets_a_page(tmp_path):
    samples = write_samples(tmp_path / "samples", levels=((2, 1),))
    vqvae = write_run(tmp_path / "vqvae", "level_1/spectral_convergence", [0.9, 0.7], None)
    (vqvae / "summary.json").unlink()
    (tmp_path / "prior").mkdir()
    write_json(tmp_path / "audio/dataset.json", {"splits": {"train": {"tracks": [{}, 3]}}})
    write_json(tmp_path / "codes/dataset.json", {"splits": 3})
    (tmp_path / "timings.json").write_text("[1, 2]")
    index, figures = report.write_pipeline_page(
        tmp_path / "page",
        PipelinePaths(
            audio=tmp_path / "audio",
            codes=tmp_path / "codes",
            vqvae=vqvae,
            priors=[tmp_path / "prior"],
            samples=[samples],
            timings=tmp_path / "timings.json",
        ),
    )
    words = read_words(check_page(index)[0])
    assert "1, middle 0.7000" in words
    assert "no control with a frozen codebook was trained" in words
    assert "Left out: no prior has held-out figures yet." in words
    assert "Left out: this part cannot be read (ValueError" in words  # the codes
    assert "train the VQ-VAE 4.0 s" in words
    assert dict(figures)["tracks"] == "1 (0 held out)"


def test_codes_are_counted_in_the_samples_without_a_data_set(tmp_path):
    samples = write_samples(tmp_path / "samples", levels=((2,),))
    index, _ = report.write_pipeline_page(tmp_path / "page", PipelinePaths(samples=[samples]))
    words = read_words(check_page(index)[0])
    assert "2, coarsest 2 of 2 100.0 % 1.00 bits 2" in words
    assert "1, middle 1 of 1 100.0 % 0.00 bits 1" in words
    assert "Counted in the generated tracks" in words


def test_a_level_worse_than_the_control_is_reported_as_worse(tmp_path):
    runs = [
        write_run(tmp_path / name, "loss", [1.0], {"level_0/spectral_convergence": value})
        for name, value in (("vqvae", 0.6), ("control", 0.5))
    ]
    index, figures = report.write_pipeline_page(
        tmp_path / "page", PipelinePaths(vqvae=runs[0], control=runs[1])
    )
    assert "0.6000 0.5000 20.0 % higher" in read_words(index.read_text("utf-8"))
    assert "20.0\u00a0% above a frozen codebook" in dict(figures)["spectral convergence, level 0"]


def test_training_runs_are_read_also_from_empty_folders(tmp_path):
    run = TrainingRun.read(
        write_run(tmp_path / "run", "loss", [3.0, float("nan"), 1.0], {"loss": 0.5})
    )
    assert run.select_series("loss", "train") == ([1, 3], [3.0, 1.0])
    assert (run.find_heldout("loss"), run.steps, run.seconds) == (0.5, 3, 61)
    empty = TrainingRun.read(tmp_path)
    assert (empty.find_heldout("loss"), empty.steps, empty.seconds) == (None, None, None)
    assert len(Corpus.read(tmp_path)) == 0
