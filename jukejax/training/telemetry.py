"""Telemetry of a run: metrics.jsonl, TensorBoard, Weights & Biases, the progress line.

One process writes. Settings of a config: `tensorboard` (on if it is not given) writes
WORKDIR/tensorboard, `wandb` names a project of Weights & Biases.
"""

import importlib.util
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from jukejax.analysis import fidelity
from jukejax.analysis.track_figures import track_figures
from jukejax.data.audio import SAMPLE_RATE
from jukejax.pages import pictures
from jukejax.runtime import distributed
from jukejax.training.run_log import RunLog
from jukejax.training.task import Preview
from jukejax.training.tensorboard import EventFile, playable

PREVIEW = "heldout"  # the run in TensorBoard that sounds and pictures belong to


class Sink(Protocol):
    """One place that figures and sounds go to."""

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None: ...

    def sound(
        self, step: int, name: str, sound: np.ndarray, sample_rate: int, picture: bytes
    ) -> None:
        """A sound, float [time], and its mel spectrogram as a PNG."""

    def histogram(self, step: int, name: str, values: np.ndarray) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """`tensorboard --logdir WORKDIR/tensorboard`: training and held-out data as two runs of it, so
    that their curves lie over each other."""

    def __init__(self, folder: Path, step: int):
        self._files = {split: EventFile(folder / split, step) for split in ("train", PREVIEW)}

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._files[split].scalars(step, values)

    def sound(
        self, step: int, name: str, sound: np.ndarray, sample_rate: int, picture: bytes
    ) -> None:
        self._files[PREVIEW].audio(step, f"audio/{name}", sound, sample_rate)
        self._files[PREVIEW].image(step, f"mel/{name}", picture)

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        self._files[PREVIEW].histogram(step, f"histogram/{name}", values)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class WeightsAndBiases:
    """The same in a project of Weights & Biases; a resumed run goes on in its own page."""

    def __init__(self, project: str, workdir: Path, config: dict):
        import wandb

        self._wandb = wandb
        place = str(workdir.absolute())
        self._run = wandb.init(
            project=project,
            name=workdir.name,
            id=f"{workdir.name}-{zlib.crc32(place.encode()):08x}",
            dir=place,
            config=config,
            resume="allow",
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step} | {f"{split}/{name}": v for name, v in values.items()})

    def sound(
        self, step: int, name: str, sound: np.ndarray, sample_rate: int, picture: bytes
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mel.png"
            path.write_bytes(picture)
            shown = {
                f"audio/{name}": self._wandb.Audio(playable(sound), sample_rate=sample_rate),
                f"mel/{name}": self._wandb.Image(str(path)),
            }
            self._run.log({"step": step} | shown)

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        histogram = self._wandb.Histogram(np.asarray(values).reshape(-1))
        self._run.log({"step": step, f"histogram/{name}": histogram})

    def close(self) -> None:
        self._run.finish()


def check(config: Mapping) -> None:
    """Raises ValueError if the config asks for a logger that is not installed."""
    if config.get("wandb") and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            f"config.wandb={config['wandb']} asks for Weights & Biases, which is not installed: "
            "pip install wandb, or leave config.wandb away"
        )


class Telemetry:
    """Everything that a run tells, in every place that was asked for."""

    def __init__(self, workdir: Path, config: dict, step: int):
        """Opens them all.

        Args:
          config: the run's, as plain dictionaries.
          step: that the run goes on from.
        """
        self._log = RunLog(workdir / "metrics.jsonl", step)
        self._sinks: list[Sink] = []
        if distributed.is_writer():
            if config.get("tensorboard", True):
                self._sinks.append(TensorBoard(workdir / "tensorboard", step))
            if config.get("wandb"):
                self._sinks.append(WeightsAndBiases(config["wandb"], workdir, config))

    @property
    def seconds(self) -> float:
        """Since the run began, without the time it lay still."""
        return self._log.seconds

    def write(self, step: int, split: str, values: dict) -> None:
        """Figures of a step; words go to metrics.jsonl only."""
        self._log.write(step, split, values)
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        for sink in self._sinks:
            sink.scalars(step, split, numbers)

    def show(self, step: int, preview: Preview) -> None:
        """Sounds, pictures of them, what is measured of them, and histograms."""
        if not distributed.is_writer():
            return
        measured = sound_figures(preview)
        if measured:
            self._log.write(step, "sample", measured)
            shown = {f"sample/{name}": value for name, value in measured.items()}
            for sink in self._sinks:
                sink.scalars(step, PREVIEW, shown)
        for name, sound in preview.audio.items():
            picture = mel_png(sound, preview.sample_rate, f"{name}, step {step}")
            for sink in self._sinks:
                sink.sound(step, name, sound, preview.sample_rate, picture)
        for name, values in preview.histograms.items():
            for sink in self._sinks:
                sink.histogram(step, name, values)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
        self._log.close()


def sound_figures(preview: Preview) -> dict[str, float]:
    """Measures each sound of a preview by the quick part of `evaluate`: `generated/tempo_bpm`, ...

    Level, faults and rhythm; of copies also their fidelity. Figures that need a longer or louder
    sound are omitted.
    """
    measured: dict[str, float | None] = {}
    target = None if preview.original is None else preview.audio.get(preview.original)
    for name, sound in preview.audio.items():
        figures = {}
        if preview.sample_rate == SAMPLE_RATE:
            figures = track_figures(sound[:, None])
        if target is not None and name != preview.original and len(sound) > fidelity.SHORTEST:
            figures |= fidelity.measure_fidelity(target, sound, preview.sample_rate)
        measured |= {f"{name}/{figure}": value for figure, value in figures.items()}
    return {name: v for name, v in measured.items() if v is not None and np.isfinite(v)}


def mel_png(sound: np.ndarray, sample_rate: int, title: str) -> bytes:
    """The mel spectrogram of a sound [time] as a PNG file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mel.png"
        pictures.write_mel_picture(sound, path, title, sample_rate=sample_rate)
        return path.read_bytes()


def progress_note(values: Mapping[str, float], sample_rate: int | None = None) -> str:
    """Formats the figures of a step for the progress line.

    Args:
      sample_rate: of a VQ-VAE's audio, whose "tokens" are samples; None for a prior.
    """
    parts = []
    if "bits_per_code" in values:
        parts.append(f"{values['bits_per_code']:.3f} bits per code")
    else:
        parts.append(f"loss {values['loss']:.4f}")
    if sample_rate:
        parts.append(f"{values['tokens_per_s'] / sample_rate:,.1f} s of audio a second")
    else:
        parts.append(f"{values['tokens_per_s']:,.0f} tokens/s")
    if "mfu" in values:
        parts.append(f"MFU {100 * values['mfu']:.1f} %")
    return ", ".join(parts)


def track_spread(by_track: Mapping[str, float]) -> dict[str, float | str]:
    """Returns the range of a held-out figure (lower is better) over tracks; {} without any."""
    if not by_track:
        return {}
    worst = max(by_track, key=lambda name: by_track[name])
    return {"track_min": min(by_track.values()), "track_max": by_track[worst], "worst_track": worst}


def match_note(values: Mapping) -> str:
    """`copied: 34.0 % of the preview, 1.0 % of held-out music; 0.310 bits above training`."""
    note = (
        f"copied: {100 * values['match_rate']:.1f} % of the preview, "
        f"{100 * values['match_rate_heldout']:.1f} % of held-out music"
    )
    if np.isfinite(values.get("gap", np.nan)):
        note += f"; held-out loss less training loss: {values['gap']:.3f} bits"
    return note


def heldout_note(values: Mapping) -> str:
    """`held out: 5.213 bits per code, 0.310 above training; tracks 4.900 to 5.600, worst: x`."""
    parts = [f"held out: {values['bits_per_code']:.3f} bits per code"]
    if np.isfinite(values.get("gap", np.nan)):
        side = "above" if values["gap"] >= 0 else "below"
        parts[0] += f", {abs(values['gap']):.3f} {side} training"
    if "worst_track" in values:
        parts.append(
            f"tracks {values['track_min']:.3f} to {values['track_max']:.3f}, worst: "
            f"{values['worst_track']}"
        )
    return "; ".join(parts)
