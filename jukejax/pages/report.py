"""The two pages a user reads: what a sample folder holds, and what a whole run of the road made."""

import os
from collections.abc import Sequence
from pathlib import Path

from jukejax.common import files
from jukejax.pages import chapters, page, tracks
from jukejax.pages.assets import Assets
from jukejax.pages.runs import read_items, without_times


def write_sample_page(folder: str | os.PathLike) -> Path:
    """Writes index.html, and mel pictures beside the WAVs, for a sample folder; returns its path.

    Works at any moment of a run: a level or an item that is not there yet is said to be missing.
    What was measured is left to meta.json, so that the same command makes the same page.
    """
    folder = Path(folder)
    assets, items = Assets(folder), [without_times(item) for item in read_items(folder)]
    if items:
        lead = [
            page.tag("p", f"The machine made {tracks.made_of(items)}.", class_="lead"),
            page.note(tracks.HOW_TRACKS_GROW),
        ]
    else:
        lead = [page.note("No track is finished yet.")]
    settings = files.read_json_if_any(folder / "settings.json")
    parts = [*lead, *(tracks.track(item, assets) for item in items)]
    if settings:
        parts.append(
            page.details("Settings of the whole run", page.tag("pre", tracks.pretty(settings)))
        )
    return _write(folder, page.document("Generated music", *parts))


def write_road_page(
    folder: str | os.PathLike,
    *,
    audio: str | os.PathLike | None = None,
    codes: str | os.PathLike | None = None,
    vqvae: str | os.PathLike | None = None,
    control: str | os.PathLike | None = None,
    priors: Sequence[str | os.PathLike] = (),
    bundle: str | os.PathLike | None = None,
    samples: str | os.PathLike | None = None,
    commands: str | os.PathLike | None = None,
    timings: str | os.PathLike | None = None,
) -> tuple[Path, list[tuple[str, str]]]:
    """Writes the page of a whole run to `folder`/index.html, its sounds and pictures beside it.

    Args:
      audio, codes: the data set folders that `prepare` and `encode` wrote.
      vqvae, control: working folders of the VQ-VAE and of its twin with a frozen codebook.
      priors: working folders of the priors for levels 2, 1, 0, in this order.
      bundle: the exported model.
      samples: the sample folder.
      commands: a text file of the commands that were run.
      timings: a JSON object {stage: seconds}, in the order in which the stages ran.

    Returns the page's path and the key figures as (name, value). What is not given, missing or
    broken is left out with a line that says so.
    """
    road = chapters.Road.read(
        audio=audio,
        codes=codes,
        vqvae=vqvae,
        control=control,
        priors=priors,
        bundle=bundle,
        samples=samples,
        commands=commands,
        timings=timings,
    )
    assets = Assets(folder)
    sections, contents = [], []
    for name, title, build in chapters.CHAPTERS:
        try:
            content = build(road, assets)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OSError) as error:
            # The page comes after hours of training: one odd file must not cost the other chapters.
            reason = f"{type(error).__name__}: {error}"
            content = page.note(f"Left out: this part cannot be read ({reason}).")
        sections.append(page.section(name, title, content))
        contents.append((name, title))
    text = page.document(
        "What the machine made", chapters.summary(road), *sections, contents=contents
    )
    return _write(Path(folder), text), chapters.key_figures(road)


def _write(folder: Path, text: str) -> Path:
    path = folder / "index.html"
    files.write_text(path, text)
    return path
