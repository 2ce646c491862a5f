"""The pages for users: the tracks of a sample folder, and the results of a pipeline."""

import os
from pathlib import Path

from jukejax.common import files
from jukejax.data.sample_items import read_items
from jukejax.pages import alignment, chapters, page, summary, tracks
from jukejax.pages.assets import Assets
from jukejax.pages.pipeline import PipelinePaths, PipelineResults


def write_sample_page(folder: str | os.PathLike) -> Path:
    """Writes index.html, and mel pictures beside the WAV files, for a sample folder.

    It can be called at any moment of a run; the page lists missing levels and items. Wall-clock
    times are in meta.json only, so that the same command always writes the same page.

    Returns:
      The path of index.html.
    """
    folder = Path(folder)
    assets, items = Assets(folder), [item.drop_measurements() for item in read_items(folder)]
    if items:
        content = [
            page.tag("p", f"The model generated {tracks.describe_tracks(items)}.", class_="lead"),
            page.note(tracks.describe_levels(items)),
        ]
    else:
        content = [page.note("No track is finished yet.")]
    content += [tracks.render_track(item, assets) for item in items]
    if settings := files.read_json_if_any(folder / "settings.json"):
        formatted = page.tag("pre", tracks.format_indented(settings))
        content.append(page.details("Settings of the run", formatted))
    return _write_index(
        folder, page.document("Generated music", *content, script=alignment.FOLLOW_WORDS)
    )


def write_alignment_page(folder: str | os.PathLike) -> Path:
    """Writes index.html for the songs that `align` wrote to a folder.

    Returns:
      The path of index.html.
    """
    folder = Path(folder)
    assets, articles = Assets(folder), []
    for path in sorted(folder.iterdir()):
        if not (table := alignment.read_alignment(path)):
            continue
        sound = Path(str(table.get("sound") or ""))
        articles.append(
            page.tag(
                "article",
                page.tag("h2", path.name),
                assets.add_sound(sound, path.name, "Sound", path.name) if sound.is_file() else "",
                alignment.render_alignment(table, path, assets),
                class_="item",
            )
        )
    text = page.document("Lyrics and music", *articles, script=alignment.FOLLOW_WORDS)
    return _write_index(folder, text)


def write_pipeline_page(
    folder: str | os.PathLike, paths: PipelinePaths
) -> tuple[Path, list[tuple[str, str]]]:
    """Writes the page of a pipeline to `folder`/index.html, with copies of sounds and pictures.

    Missing or damaged results are replaced by a note.

    Returns:
      The path of index.html, and the key figures as (name, value).
    """
    results = PipelineResults.read(paths)
    assets = Assets(folder)
    sections = []
    for name, title, render in chapters.CHAPTERS:
        try:
            content = render(results, assets)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OSError) as error:
            # A damaged file must not prevent the other chapters.
            reason = f"{type(error).__name__}: {error}"
            content = page.note(f"Left out: this part cannot be read ({reason}).")
        sections.append(page.section(name, title, content))
    text = page.document(
        "Results of the pipeline",
        summary.render_summary(results),
        *sections,
        contents=[(name, title) for name, title, _ in chapters.CHAPTERS],
    )
    return _write_index(Path(folder), text), summary.list_key_figures(results)


def _write_index(folder: Path, text: str) -> Path:
    path = folder / "index.html"
    files.write_text(path, text)
    return path
