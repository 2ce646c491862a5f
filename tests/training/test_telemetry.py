"""What the owner sees: every sink gets every figure, words stay in the log, sounds get pictures."""

import json
import sys
import types

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jukejax.preparation import house
from jukejax.runtime import memory
from jukejax.training import telemetry
from jukejax.training.task import Preview

RATE = 8000


def preview() -> Preview:
    time = np.arange(RATE // 4) / RATE
    sounds = {"original": np.sin(2 * np.pi * 440 * time), "level_0": np.zeros(RATE // 4)}
    return Preview(sounds, RATE, {"level_0_code_use": np.array([0.0, 0.0, 7.0])})


def shown(folder) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run that logged twice, was stopped after step 2, and went on."""
    folder = tmp_path_factory.mktemp("run")
    first = telemetry.Telemetry(folder, {}, step=0)
    for step in (1, 2, 3):
        first.log_metrics(step, "train", {"loss": step / 2, "mfu": 0.25})
    first.log_metrics(2, "heldout", {"loss": 2.5, "worst_track": "somebody"})
    first.log_preview(2, preview())
    first.close()
    second = telemetry.Telemetry(folder, {}, step=2)
    second.log_metrics(3, "train", {"loss": 30.0, "mfu": 0.25})
    second.close()
    return folder


def test_metrics_jsonl_holds_every_figure_and_word(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["split"]) for row in rows] == [
        (1, "train"),
        (2, "train"),
        (2, "heldout"),
        (3, "train"),
    ]
    assert rows[2]["worst_track"] == "somebody"
    assert rows[3]["loss"] == 30.0


def test_tensorboard_has_the_same_figures_and_steps(workdir):
    train, heldout = (shown(workdir / "tensorboard" / split) for split in ("train", "heldout"))
    assert [(p.step, p.value) for p in train.Scalars("loss")] == [(1, 0.5), (2, 1.0), (3, 30.0)]
    assert set(train.Tags()["scalars"]) == {"loss", "mfu"}
    assert heldout.Tags()["scalars"] == ["loss"]


def test_tensorboard_has_each_sound_with_its_picture_and_the_use_of_codes(workdir):
    tags = shown(workdir / "tensorboard" / "heldout").Tags()
    assert set(tags["audio"]) == {"audio/original", "audio/level_0"}
    assert set(tags["images"]) == {"mel/original", "mel/level_0"}
    assert tags["histograms"] == ["histogram/level_0_code_use"]


def test_pictures_are_png_files():
    png = telemetry.render_mel_png(np.ones(4000, np.float32) * 0.1, RATE, "a title")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")


def test_tensorboard_can_be_left_out(tmp_path):
    log = telemetry.Telemetry(tmp_path, {"tensorboard": False}, step=0)
    log.log_metrics(1, "train", {"loss": 1.0})
    log.log_preview(1, preview())
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_only_one_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry.distributed, "is_writer", lambda: False)
    log = telemetry.Telemetry(tmp_path, {}, step=0)
    log.log_metrics(1, "train", {"loss": 1.0})
    log.log_preview(1, preview())
    log.close()
    assert not list(tmp_path.iterdir())


class FakeRun:
    def __init__(self):
        self.logged, self.finished = [], False

    def define_metric(self, *args, **kwargs):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    module = types.ModuleType("wandb")
    module.__spec__ = types.SimpleNamespace(name="wandb")
    module.runs, module.asked = [], []

    def init(**asked):
        module.asked.append(asked)
        module.runs.append(FakeRun())
        return module.runs[-1]

    module.init = init
    module.Audio = lambda sound, sample_rate: ("audio", len(sound), sample_rate)
    module.Image = lambda path: ("image", path.endswith(".png"))
    module.Histogram = lambda values: ("histogram", list(values))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_weights_and_biases_gets_the_same_if_it_is_asked_for(tmp_path, wandb):
    config = {"wandb": "house", "tensorboard": False, "steps": 5}
    telemetry.check_loggers(config)
    for step in (0, 4):
        log = telemetry.Telemetry(tmp_path, config, step=step)
        log.log_metrics(step + 1, "train", {"loss": 2.0})
        log.log_metrics(step + 1, "heldout", {"loss": 3.0, "worst_track": "x"})
        log.log_preview(step + 1, preview())
        log.close()
    first, second = wandb.asked
    assert first["project"] == "house"
    assert first["config"] == config
    assert first["id"] == second["id"]  # a resumed run goes on in its own page
    assert first["resume"] == "allow"
    run = wandb.runs[1]
    assert run.finished
    assert run.logged[:2] == [{"step": 5, "train/loss": 2.0}, {"step": 5, "heldout/loss": 3.0}]
    assert run.logged[2] == {
        "step": 5,
        "audio/original": ("audio", RATE // 4, RATE),
        "mel/original": ("image", True),
    }
    assert run.logged[-1] == {
        "step": 5,
        "histogram/level_0_code_use": ("histogram", [0.0, 0.0, 7.0]),
    }


def test_weights_and_biases_that_is_not_installed_is_a_usage_error(monkeypatch):
    monkeypatch.setattr(telemetry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"config.wandb=house .* not installed: .*\[wandb"):
        telemetry.check_loggers({"wandb": "house"})
    telemetry.check_loggers({})


def test_memory_is_the_process_own_on_a_cpu_and_grows_with_it():
    before = memory.peak_bytes()
    held = np.ones(100 * 2**20 // 8) * 2
    after = memory.peak_bytes()
    assert 50e6 < before <= after < 1e12
    assert held.size


def test_memory_is_the_fullest_devices_where_the_backend_says_it(monkeypatch):
    class Device:
        def __init__(self, peak):
            self.peak = peak

        def memory_stats(self):
            return {"peak_bytes_in_use": self.peak}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device(5), Device(9)])
    assert memory.peak_bytes() == 9


def test_the_progress_line_speaks_of_bits_tokens_and_mfu():
    values = {"loss": 2.4, "bits_per_code": 2.3456, "tokens_per_s": 12345.6}
    assert telemetry.format_progress(values) == "2.346 bits per code, 12,346 tokens/s"
    values["mfu"] = 0.4123
    assert telemetry.format_progress(values).endswith(", MFU 41.2 %")
    assert telemetry.format_progress({"loss": 1.5, "tokens_per_s": 88200.0}, 44100) == (
        "loss 1.5000, 2.0 s of audio a second"
    )


def test_the_spread_of_tracks_names_the_worst():
    assert telemetry.find_track_range({"a": 3.0, "b": 5.0, "c": 4.0}) == {
        "track_min": 3.0,
        "track_max": 5.0,
        "worst_track": "b",
    }
    assert telemetry.find_track_range({}) == {}


def test_the_heldout_line_shows_the_gap_to_training():
    values = {"bits_per_code": 4.0, "gap": 0.25}
    assert telemetry.format_heldout(values) == "held out: 4.000 bits per code, 0.250 above training"
    values = {"bits_per_code": 4.0, "gap": float("nan")} | telemetry.find_track_range({"a": 4.0})
    assert telemetry.format_heldout(values) == (
        "held out: 4.000 bits per code; tracks 4.000 to 4.000, worst: a"
    )


def test_what_is_measured_of_a_preview_lands_beside_the_figures(tmp_path):
    track = house.track(0, seconds=6.0).mix.mean(axis=1)
    sounds = {"original": track, "level_0": 0.9 * track, "level_2": np.zeros_like(track)}
    shown_twice = Preview(sounds, 44_100, {}, original="original")
    log = telemetry.Telemetry(tmp_path, {}, step=0)
    log.log_preview(5, shown_twice)
    log.close()
    (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (row["step"], row["split"]) == (5, "sample")
    assert row["original/tempo_bpm"] == pytest.approx(house.track(0, seconds=6.0).bpm, rel=0.01)
    assert row["original/four_on_the_floor"] > 0.5
    assert row["level_0/spectral_convergence_db"] == pytest.approx(-20, abs=0.01)
    assert row["level_2/spectral_convergence_db"] == pytest.approx(0, abs=0.01)
    assert row["level_2/silent"] == 1.0
    assert "level_2/tempo_bpm" not in row  # silence has none
    assert "original/mel_db" not in row
    curves = shown(tmp_path / "tensorboard/heldout")
    (point,) = curves.Scalars("sample/level_0/spectral_convergence_db")
    assert (point.step, point.value) == (5, pytest.approx(-20, abs=0.01))
