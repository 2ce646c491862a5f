"""The top of the page of a pipeline, and its key figures for the command line."""

from jukejax.pages import page, tracks
from jukejax.pages.pipeline import PipelineResults


def format_percent(value: float | None, digits: int = 1) -> str:
    """Formats a share as percent."""
    return page.number(None if value is None else 100 * value, f".{digits}f", "%")


def render_summary(results: PipelineResults) -> list[page.Html]:
    """Returns the opening sentences and the most important figures."""
    corpus = results.corpus
    sentences: list[str] = []
    figures: list[tuple[str, object]] = []
    if len(corpus):
        genres = ", ".join(corpus.genres[:6]) + (", …" if len(corpus.genres) > 6 else "")
        length = page.duration(corpus.seconds)
        heldout = len(corpus.splits.get("heldout", []))
        sentences.append(f"The corpus has {length} of music" + (f" ({genres})." if genres else "."))
        figures.append((f"tracks in the corpus, {heldout} of them held out", len(corpus)))
    if results.items:
        sentences.append(f"The model generated {tracks.describe_tracks(results.items)}.")
        figures.append(("generated tracks", len(results.items)))
    if (cost := results.seconds_per_second) is not None:
        figures.append(("of computing per second of music", page.number(cost, ".1f", "s")))
    if results.timings:
        figures.append(("from start to finish", page.duration(sum(results.timings.values()))))
    return [
        page.tag("p", " ".join(sentences), class_="lead") if sentences else page.Html(""),
        page.facts(figures, large=True) if figures else page.Html(""),
    ]


def list_key_figures(results: PipelineResults) -> list[tuple[str, str]]:
    """Returns the results as a dozen pairs of (name, value)."""
    rows = []
    if len(results.corpus):
        heldout = len(results.corpus.splits.get("heldout", []))
        rows.append(("tracks", f"{len(results.corpus)} ({heldout} held out)"))
    for fidelity in results.list_fidelity():
        value, margin = page.number(fidelity.trained, ".3f"), fidelity.margin
        if margin is not None:
            side = "below" if margin > 0 else "above"
            value += f", {format_percent(abs(margin))} {side} a frozen codebook"
        rows.append((f"spectral convergence, level {fidelity.level}", value))
    for prediction in results.list_prediction():
        value = page.number(prediction.bits)
        if prediction.entropy:
            saved = format_percent(prediction.saved)
            value += f" of {page.number(prediction.entropy)} ({saved} saved)"
        rows.append((f"bits per code, level {prediction.level}", value))
    if results.items:
        rows.append(("generated tracks", tracks.describe_tracks(results.items)))
    if (cost := results.seconds_per_second) is not None:
        rows.append(("computing per second of music", page.number(cost, ".1f", "s")))
    if results.timings:
        rows.append(("time in all", page.duration(sum(results.timings.values()))))
    return rows
