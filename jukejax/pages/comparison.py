"""The page that compares VQ-VAEs, such as ones with other bottlenecks: error, rate and sound."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.common.json_values import parse_number
from jukejax.data.sample_items import list_levels
from jukejax.pages import page
from jukejax.pages.assets import Assets
from jukejax.pages.runs import TrainingRun

FLOAT_BITS = 32  # of an entry of features that are not compressed
NAMES = {"vq": "VQ-VAE", "kl": "VAE", "none": "autoencoder"}
# Keys that belong to the bottlenecks, and may differ in a fair comparison.
FREE = {"model.bottleneck", "model.codebook_size", "model.ema_decay", "model.restart_threshold"}
FREE |= {"loss.commit", "loss.kl"}
COMPARED = ("model", "data", "loss", "optimizer", "schedule", "steps", "dtype", "seed")
ERRORS = {
    "spectral_convergence": "spectral convergence",
    "multispectral": "multispectral",
    "recons": "reconstruction",
}


@dataclass(frozen=True)
class CodecRun:
    """The training run of a VQ-VAE, an autoencoder or a VAE.

    Attributes:
      name: on the page.
      description: content of description.json.
      settings: content of config.json.
    """

    name: str
    run: TrainingRun
    description: dict
    settings: dict

    @property
    def bottleneck(self) -> str:
        """Returns "vq", "kl" or "none"; older files have true or false."""
        value = self.description["config"].get("bottleneck", "vq")
        return value if isinstance(value, str) else "vq" if value else "none"

    def count_bits(self, level: int) -> float | None:
        """Returns the bits of a code, or of the latents of its position, on held-out music.

        Codes: the entropy of their histogram. KL: the divergence from the prior. A plain
        autoencoder: its features as numbers of `FLOAT_BITS`, which nothing limits.
        """
        if self.bottleneck == "none":
            return float(FLOAT_BITS * self.description["config"]["emb_dim"])
        measure = "entropy" if self.bottleneck == "vq" else "kl_bits"
        return self.run.find_heldout(f"level_{level}/{measure}")

    def find_rate(self, level: int) -> float | None:
        """Returns `count_bits` as bits a second."""
        bits, sample_rate = self.count_bits(level), parse_number(self.description["sample_rate"])
        if bits is None or sample_rate is None:
            return None
        return bits * sample_rate / self.description["hops"][level]


def read_codec_run(folder: Path) -> CodecRun:
    """Reads a workdir of `train`.

    Raises:
      ValueError: it is no run of a VQ-VAE, or not finished.
    """
    description = files.read_json_if_any(folder / "description.json")
    if description.get("kind") != "vqvae":
        raise ValueError(f"--compare={folder} is no working folder of a VQ-VAE's training")
    run = TrainingRun.read(folder)
    if not run.summary:
        raise ValueError(f"--compare={folder} is not finished: it has no summary.json; train it on")
    settings = files.read_json_if_any(folder / "config.json")
    return CodecRun(folder.name, run, description, settings)


def list_differences(runs: Sequence[CodecRun]) -> list[str]:
    """Lists the settings that differ, apart from those of the bottlenecks."""
    flat = [dict(_flatten(run.settings)) for run in runs]
    lines = []
    for key in sorted(set().union(*flat)):
        if key.split(".")[0] in COMPARED and key not in FREE:
            values = [settings.get(key) for settings in flat]
            if any(value != values[0] for value in values):
                lines.append(f"{key}: {', '.join(map(str, values))}")
    return lines


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def write_comparison_page(
    folder: str | os.PathLike, paths: Sequence[str]
) -> tuple[Path, list[tuple[str, str]]]:
    """Writes the page of a comparison of training runs to `folder`/index.html.

    Returns:
      The path of index.html, and the key figures as (name, value).

    Raises:
      ValueError: there are fewer than two runs, or one is no finished run of a VQ-VAE.
    """
    if len(paths) < 2:
        raise ValueError(f"--compare={','.join(paths)} names {len(paths)} run; give two or more")
    runs, assets = [read_codec_run(Path(path)) for path in paths], Assets(folder)
    levels = list_levels(runs[0].description)
    others = [run for run in runs if list_levels(run.description) != levels]
    if others:
        raise ValueError(
            f"--compare: {others[0].run.folder} has another number of levels than "
            f"{runs[0].run.folder}"
        )
    text = page.document(
        "Comparison of bottlenecks",
        _render_settings(runs),
        [_render_level(runs, level, assets) for level in levels],
    )
    index = Path(folder) / "index.html"
    files.write_text(index, text)
    return index, _list_figures(runs, levels)


def _render_settings(runs: Sequence[CodecRun]) -> list[page.Html]:
    differences = list_differences(runs)
    if not differences:
        return [page.note("All settings of size and training are equal.")]
    return [
        page.note("The comparison is not fair: these settings of size or training differ."),
        page.tag("ul", [page.tag("li", line) for line in differences]),
    ]


def _render_level(runs: Sequence[CodecRun], level: int, assets: Assets) -> page.Html:
    """Returns the table and the players of one level."""
    rows = [
        (
            run.name,
            NAMES[run.bottleneck],
            *(page.number(run.run.find_heldout(f"level_{level}/{name}"), ".4f") for name in ERRORS),
            page.number(run.count_bits(level), ".1f"),
            page.number(_kilobits(run.find_rate(level)), ".2f"),
        )
        for run in runs
    ]
    columns = ["run", "kind", *ERRORS.values(), "bits a code", "kbit/s"]
    original = runs[0].run.folder / "reconstruction" / "original.wav"
    sounds = [("original", "The original", original)]
    sounds += [
        (f"{number}_{level}", run.name, run.run.folder / "reconstruction" / f"level_{level}.wav")
        for number, run in enumerate(runs)
    ]
    cards = [
        page.card(title, assets.add_sound(path, name, title, f"{title}, level {level}"))
        for name, title, path in sounds
        if path.is_file()
    ]
    return page.section(
        f"level_{level}",
        f"Level {level}",
        page.table(
            "Held-out music: lower errors are better. The rate is the entropy of the codes, the "
            "divergence of the VAE's latents from their prior, or 32 bits for each number of the "
            "autoencoder.",
            columns,
            rows,
            text=2,
        ),
        page.grid(cards, columns=2) if cards else page.note("Left out: no reconstructions."),
    )


def _kilobits(rate: float | None) -> float | None:
    return None if rate is None or not math.isfinite(rate) else rate / 1000


def _list_figures(runs: Sequence[CodecRun], levels: Sequence[int]) -> list[tuple[str, str]]:
    figures = []
    for level in levels:
        for run in runs:
            error = page.number(run.run.find_heldout(f"level_{level}/spectral_convergence"), ".4f")
            rate = page.number(_kilobits(run.find_rate(level)), ".2f", "kbit/s")
            name = f"level {level}, {run.name} ({NAMES[run.bottleneck]})"
            figures.append((name, f"spectral convergence {error}, {rate}"))
    return figures + [("settings that differ", line) for line in list_differences(runs)]
