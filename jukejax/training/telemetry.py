"""Telemetry of a run: metrics.jsonl, TensorBoard, Weights & Biases, the progress line.

Only one process writes. Keys of a config: `tensorboard` (default: true) enables the event files of
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
from jukejax.analysis.track_figures import measure_sound
from jukejax.common import extras, mirrors
from jukejax.data.audio import SAMPLE_RATE
from jukejax.pages import pictures
from jukejax.runtime import distributed
from jukejax.training.run_log import RunLog, read_metrics
from jukejax.training.task import Preview
from jukejax.training.tensorboard import EventFile, limit_peak

PREVIEW_SPLIT = "heldout"  # the run in TensorBoard that gets audio, images and histograms


class Sink(Protocol):
    """Receives the metrics and previews of a run."""

    def log_scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes scalars of a split ("train" or "heldout")."""

    def log_audio(
        self, step: int, name: str, audio: np.ndarray, sample_rate: int, mel_png: bytes
    ) -> None:
        """Writes audio, float [time], and its mel spectrogram as a PNG file."""

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Writes the distribution of `values`, of any shape."""

    def close(self) -> None:
        """Completes the output."""


class TensorBoard:
    """Writes the event files that `tensorboard --logdir WORKDIR/tensorboard` displays.

    The training and the held-out split are two runs of TensorBoard, which plots their curves of one
    metric together.
    """

    def __init__(self, folder: Path, step: int):
        self._folder, self._step = folder, step
        self._files = {split: EventFile(folder / split, step) for split in ("train", PREVIEW_SPLIT)}

    def log_scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        if split not in self._files:
            self._files[split] = EventFile(self._folder / split, self._step)
        self._files[split].add_scalars(step, values)

    def log_audio(
        self, step: int, name: str, audio: np.ndarray, sample_rate: int, mel_png: bytes
    ) -> None:
        self._files[PREVIEW_SPLIT].add_audio(step, f"audio/{name}", audio, sample_rate)
        self._files[PREVIEW_SPLIT].add_image(step, f"mel/{name}", mel_png)

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        self._files[PREVIEW_SPLIT].add_histogram(step, f"histogram/{name}", values)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class WeightsAndBiases:
    """Logs to a project of Weights & Biases; a resumed run continues the same W&B run."""

    def __init__(self, project: str, workdir: Path, config: dict):
        import wandb

        self._wandb = wandb
        place = mirrors.find_url(workdir) or str(workdir.absolute())
        self._run = wandb.init(
            project=project,
            name=workdir.name,
            id=f"{workdir.name}-{zlib.crc32(place.encode()):08x}",
            dir=str(workdir.absolute()),
            config=config,
            resume="allow",
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log_scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step} | {f"{split}/{name}": v for name, v in values.items()})

    def log_audio(
        self, step: int, name: str, audio: np.ndarray, sample_rate: int, mel_png: bytes
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mel.png"
            path.write_bytes(mel_png)
            media = {
                f"audio/{name}": self._wandb.Audio(limit_peak(audio), sample_rate=sample_rate),
                f"mel/{name}": self._wandb.Image(str(path)),
            }
            self._run.log({"step": step} | media)

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        histogram = self._wandb.Histogram(np.asarray(values).reshape(-1))
        self._run.log({"step": step, f"histogram/{name}": histogram})

    def close(self) -> None:
        self._run.finish()


def check_loggers(config: Mapping) -> None:
    """Raises ValueError if the config names a logger that is not installed."""
    if config.get("wandb") and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            f"config.wandb={config['wandb']} needs Weights & Biases, which is not installed: "
            f"{extras.format_install('wandb')}, or remove config.wandb"
        )


class Telemetry:
    """Writes the metrics and previews of a run to metrics.jsonl and to each configured sink."""

    def __init__(self, workdir: Path, config: dict, step: int):
        """Opens the log and the sinks.

        Args:
          config: the config of the run, as plain dictionaries.
          step: last step of the checkpoint that the run continues from; 0 for a new run.
        """
        self._log = RunLog(workdir / "metrics.jsonl", step)
        rows = read_metrics(workdir / "metrics.jsonl")
        sampled = [row["windows"] for row in rows if row["split"] == "heldout" and "windows" in row]
        self._first_windows: int | None = sampled[0] if sampled else None
        self._sinks: list[Sink] = []
        if distributed.is_writer():
            if config.get("tensorboard", True):
                self._sinks.append(TensorBoard(workdir / "tensorboard", step))
            if config.get("wandb"):
                self._sinks.append(WeightsAndBiases(config["wandb"], workdir, config))

    @property
    def seconds(self) -> float:
        """Seconds since the run began, without the time between a stop and the next start."""
        return self._log.seconds

    def log_metrics(self, step: int, split: str, values: dict) -> None:
        """Writes the metrics of a step; text values go to metrics.jsonl only.

        Held-out metrics of another sample of windows than the first become curves of their own.
        """
        self._log.append_row(step, split, values)
        scalars = {name: value for name, value in values.items() if not isinstance(value, str)}
        if split == "heldout" and "windows" in values:
            self._first_windows = self._first_windows or values["windows"]
            if values["windows"] != self._first_windows:
                split = f"heldout_{values['windows']}_windows"
        for sink in self._sinks:
            sink.log_scalars(step, split, scalars)

    def log_preview(self, step: int, preview: Preview) -> None:
        """Writes the audio of a preview, its spectrograms, its measurements, and histograms."""
        if not distributed.is_writer():
            return
        figures = measure_preview(preview)
        if figures:
            self._log.append_row(step, "sample", figures)
            scalars = {f"sample/{name}": value for name, value in figures.items()}
            for sink in self._sinks:
                sink.log_scalars(step, PREVIEW_SPLIT, scalars)
        for name, audio in preview.audio.items():
            mel_png = render_mel_png(audio, preview.sample_rate, f"{name}, step {step}")
            for sink in self._sinks:
                sink.log_audio(step, name, audio, preview.sample_rate, mel_png)
        for name, values in preview.histograms.items():
            for sink in self._sinks:
                sink.log_histogram(step, name, values)

    def close(self) -> None:
        """Closes the log and the sinks."""
        for sink in self._sinks:
            sink.close()
        self._log.close()


def measure_preview(preview: Preview) -> dict[str, float]:
    """Measures the audio of a preview with the fast figures of `evaluate`.

    The figures are loudness, defects and rhythm, and for reconstructions also the fidelity to the
    original. Those that need longer or louder audio are omitted.

    Returns:
      {"NAME/FIGURE": value}, such as "generated/tempo_bpm".
    """
    measured: dict[str, float | None] = {}
    target = None if preview.original is None else preview.audio.get(preview.original)
    for name, audio in preview.audio.items():
        figures = {}
        if preview.sample_rate == SAMPLE_RATE:
            figures = measure_sound(audio[:, None])
        if target is not None and name != preview.original and len(audio) > fidelity.SHORTEST:
            figures |= fidelity.measure_fidelity(target, audio, preview.sample_rate)
        measured |= {f"{name}/{figure}": value for figure, value in figures.items()}
    return {name: v for name, v in measured.items() if v is not None and np.isfinite(v)}


def render_mel_png(audio: np.ndarray, sample_rate: int, title: str) -> bytes:
    """Renders the mel spectrogram of audio [time] as a PNG file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mel.png"
        pictures.write_mel_picture(audio, path, title, sample_rate=sample_rate)
        return path.read_bytes()


def format_progress(values: Mapping[str, float], sample_rate: int | None = None) -> str:
    """Formats the metrics of a step for the progress line.

    Args:
      sample_rate: sample rate (Hz) of a VQ-VAE's audio, whose "tokens" are samples; None for a
        prior.
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


def find_track_range(by_track: Mapping[str, float]) -> dict[str, float | str]:
    """Returns the range of a held-out metric (lower is better) over tracks; {} without tracks."""
    if not by_track:
        return {}
    worst = max(by_track, key=lambda name: by_track[name])
    return {"track_min": min(by_track.values()), "track_max": by_track[worst], "worst_track": worst}


def format_match_rates(values: Mapping) -> str:
    """Formats the shares of a preview and of held-out music that match training tracks.

    Example: `copied: 34.0 % of the preview, 1.0 % of held-out music; held-out loss less training
    loss: 0.310 bits`.
    """
    line = (
        f"copied: {100 * values['match_rate']:.1f} % of the preview, "
        f"{100 * values['match_rate_heldout']:.1f} % of held-out music"
    )
    if np.isfinite(values.get("gap", np.nan)):
        line += f"; held-out loss less training loss: {values['gap']:.3f} bits"
    return line


def format_heldout(values: Mapping) -> str:
    """Formats the held-out metrics of a prior.

    Example: `held out: 5.213 bits per code, 0.310 above training; tracks 4.900 to 5.600, worst: x`.
    """
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
