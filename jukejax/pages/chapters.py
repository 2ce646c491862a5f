"""Chapters of the page of a pipeline; each returns its content for `page.section`."""

from collections.abc import Callable

from jukejax.common.formatting import format_count
from jukejax.common.json_values import join_text, parse_number
from jukejax.pages import model_chapters, page, tracks
from jukejax.pages.assets import Assets
from jukejax.pages.pipeline import PipelineResults
from jukejax.pages.runs import Corpus

_MAX_ROWS = 60


def render_listen_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns the generated tracks."""
    if not results.items:
        return page.note("Left out: there is no generated track yet.")
    return [
        page.note(tracks.describe_levels(results.items)),
        *(tracks.render_track(item, assets) for item in results.items),
    ]


def render_corpus_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns tables of the tracks of the corpus and of the files that were not used."""
    del assets
    corpus = results.corpus
    content: list[object] = []
    if len(corpus):
        content += _corpus_tables(corpus)
    else:
        content.append(page.note("Left out: there is no prepared music."))
    if corpus.refused:
        refused = corpus.refused[:_MAX_ROWS]
        content.append(page.table("Files that were not used", ["file", "reason"], refused, text=2))
    return content


def _corpus_tables(corpus: Corpus) -> list[object]:
    has_separation = any(corpus.separation.values())
    rows = [
        _track_cells(corpus, track, use, has_separation)
        for split, use in (("train", "training"), ("heldout", "held out"))
        for track in corpus.splits.get(split, [])
    ]
    columns = ["track", "artist", "genre", "use", "length", "BPM", "key"]
    columns += ["SI-SDR before", "after"] if has_separation else []
    hidden = len(rows) - _MAX_ROWS
    content: list[object] = [
        page.table(_corpus_caption(corpus), columns, rows[:_MAX_ROWS], text=4),
        page.note(f"And {format_count(hidden, 'more track')}.") if hidden > 0 else "",
    ]
    if has_separation:
        content.append(
            page.note(
                "SI-SDR measures how close the music is to its instrumental part, before and after "
                "vocal removal; higher is closer."
            )
        )
    return content


def _track_cells(corpus: Corpus, track: dict, use: str, has_separation: bool) -> list[str]:
    cells = [
        join_text(track.get("name")),
        join_text(track.get("artist")) or "unknown",
        join_text(track.get("genre")) or "unknown",
        use,
        page.duration((parse_number(track.get("samples")) or 0) / corpus.sample_rate),
        page.number(track.get("bpm"), ".1f"),
        join_text(track.get("key")) or "unknown",
    ]
    if has_separation:
        before, after = corpus.separation.get(join_text(track.get("name"))) or (None, None)
        cells += [page.number(before, ".1f", "dB"), page.number(after, ".1f", "dB")]
    return cells


def _corpus_caption(corpus: Corpus) -> str:
    count = len(corpus)
    caption = f"{format_count(count, 'track')}, {page.duration(corpus.seconds)}"
    if corpus.separator and corpus.separator != "none":
        caption += f"; vocals removed by {corpus.separator}"
    return caption


def render_times_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns a table of the seconds of each stage, with bars."""
    del assets
    seconds, source = results.list_stage_seconds()
    if not seconds:
        return page.note("Left out: no timings were measured.")
    longest, total = max(max(seconds.values()), 1e-9), sum(seconds.values())
    rows: list[tuple[str, str, str]] = [
        (
            stage,
            page.duration(value),
            page.tag(
                "span",
                page.tag("span", "", class_="bar", style=f"width:{100 * value / longest:.1f}%"),
                class_="track",
            ),
        )
        for stage, value in seconds.items()
    ]
    rows.append(("in all", page.duration(total), ""))
    return [page.table("Time by stage", ["stage", "time", ""], rows), page.note(source)]


def render_commands_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns the commands of the pipeline and the description of the exported model."""
    del assets
    if results.commands:
        content = [page.tag("pre", results.commands.strip())]
    else:
        content = [page.note("Left out: no file of commands was given.")]
    if results.model:
        description = page.tag("pre", tracks.format_indented(results.model))
        content.append(page.details("The exported model", description))
    return content


Chapter = Callable[[PipelineResults, Assets], object]
CHAPTERS: tuple[tuple[str, str, Chapter], ...] = (
    ("listen", "Listen", render_listen_chapter),
    ("codes", "Reconstructions from the codes", model_chapters.render_codes_chapter),
    ("prediction", "Predictions of the priors", model_chapters.render_prediction_chapter),
    ("curves", "Training curves", model_chapters.render_curves_chapter),
    ("codebooks", "Use of the codes", model_chapters.render_codebooks_chapter),
    ("corpus", "The corpus", render_corpus_chapter),
    ("times", "Times", render_times_chapter),
    ("commands", "The commands", render_commands_chapter),
)
