"""The chapters of the page on a whole run: each takes the run's folders and gives its markup."""

from pathlib import Path

from jukejax.analysis import codebook
from jukejax.pages import page, pictures, tracks
from jukejax.pages.assets import Assets
from jukejax.pages.road import Road, margin
from jukejax.pages.runs import LEVELS, Run, figure, words

_HOPS = {0: 8, 1: 32, 2: 128}
_GOAL = 0.15  # of the entropy that a prior should save on held-out music
_MAX_ROWS = 60
_LEVEL_NAMES = {2: "2, coarsest", 1: "1, middle", 0: "0, finest"}


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return page.number(None if value is None else 100 * value, f".{digits}f", "%")


def summary(road: Road) -> list[page.Html]:
    """What a musician wants to know first."""
    corpus, lines, large = road.corpus, [], []
    if len(corpus):
        genres = ", ".join(corpus.genres[:6]) + (", …" if len(corpus.genres) > 6 else "")
        length = page.duration(corpus.seconds)
        held = len(corpus.splits.get("heldout", []))
        lines.append(
            f"The machine listened to {length} of music" + (f" ({genres})." if genres else ".")
        )
        large.append((f"tracks heard, {held} of them kept for testing", len(corpus)))
    if road.items:
        lines.append(f"Then it made {tracks.made_of(road.items)} of its own.")
        large.append(("made by the machine", len(road.items)))
    if road.cost is not None:
        large.append(("of computing per second of music", page.number(road.cost, ".1f", "s")))
    if road.timings:
        large.append(("from start to finish", page.duration(sum(road.timings.values()))))
    return [
        page.tag("p", " ".join(lines), class_="lead") if lines else page.Html(""),
        page.facts(large, large=True) if large else page.Html(""),
    ]


def key_figures(road: Road) -> list[tuple[str, str]]:
    """The run in a dozen lines: (what, value)."""
    rows = []
    if len(road.corpus):
        held = len(road.corpus.splits.get("heldout", []))
        rows.append(("tracks heard", f"{len(road.corpus)} ({held} kept for testing)"))
    for level, trained, control in road.fidelity():
        won = margin(trained, control)
        side = "below" if won is None or won > 0 else "above"
        than = f", {percent(abs(won))} {side} a frozen codebook" if won is not None else ""
        rows.append((f"spectral convergence, level {level}", page.number(trained, ".3f") + than))
    for level, bits, entropy, saved in road.prediction():
        than = f" of {page.number(entropy)} ({percent(saved)} saved)" if entropy else ""
        rows.append((f"bits per code, level {level}", page.number(bits) + than))
    if road.items:
        rows.append(("tracks made", tracks.made_of(road.items)))
    if road.cost is not None:
        rows.append(("computing per second of music", page.number(road.cost, ".1f", "s")))
    if road.timings:
        rows.append(("time in all", page.duration(sum(road.timings.values()))))
    return rows


def _listen(road: Road, assets: Assets) -> object:
    if not road.items:
        return page.note("Left out: there is no generated track yet.")
    return [
        page.note(tracks.HOW_TRACKS_GROW),
        *(tracks.track(item, assets) for item in road.items),
    ]


def _hear_codes(road: Road, assets: Assets) -> object:
    folder = road.vqvae.folder / "reconstruction" if road.vqvae else Path()
    kinds = [("original", "The original", "the music as it was")]
    kinds += [
        (f"level_{level}", f"Level {level}", f"one code for every {_HOPS[level]} samples")
        for level in sorted(LEVELS)
    ]
    cards = [
        page.card(
            title,
            assets.sound(folder / f"{stem}.wav", f"heard_{stem}", title, f"{title}: {what}"),
            page.note(f"{what[0].upper()}{what[1:]}."),
            strong=stem == "original",
        )
        for stem, title, what in kinds
        if (folder / f"{stem}.wav").is_file()
    ]
    parts = [
        page.note(
            "Before the machine can compose, it learns to write music down as codes and to play "
            "them back. This is music it never trained on, and what is left of it at each level."
        )
        if cards
        else page.note("Left out: the VQ-VAE's reconstructions are not there."),
        page.grid(cards, columns=2) if cards else "",
    ]
    rows = road.fidelity()
    if not rows:
        return [*parts, page.note("Left out: the VQ-VAE has no held-out figures yet.")]
    caption = "Spectral convergence on tracks kept for testing: 0 is perfect, lower is better"
    table = page.table(
        caption,
        ["level", "trained", "frozen codebook", "margin"],
        [
            (
                _LEVEL_NAMES[level],
                page.number(trained, ".4f"),
                page.number(control, ".4f"),
                "–" if won is None else f"{percent(abs(won))} {'lower' if won > 0 else 'higher'}",
            )
            for level, trained, control in rows
            for won in [margin(trained, control)]
        ],
    )
    if not road.control:
        return [
            *parts,
            table,
            page.note("Left out: no control with a frozen codebook was trained."),
        ]
    control = page.note(
        "The control is the same network, trained alike, with its codebook frozen at its start."
    )
    return [*parts, table, control]


def _predict(road: Road, assets: Assets) -> object:
    del assets
    rows = road.prediction()
    if not rows:
        return page.note("Left out: no prior has held-out figures yet.")
    caption = "Bits per code on tracks kept for testing: lower is better"
    body = []
    for level, bits, entropy, saved in rows:
        verdict = "–" if saved is None else "✓ reached" if saved >= _GOAL else "✗ missed"
        costs = page.number(bits, ".3f"), page.number(entropy, ".3f")
        body.append((_LEVEL_NAMES[level], *costs, percent(saved), verdict))
    missing = [level for level in LEVELS if level not in [row[0] for row in rows]]
    return [
        page.note(
            "A prior guesses each next code of music it never heard. The second figure is what a "
            "guess costs that knows only how often each code occurs; what the prior saves of it "
            "is what it understood of the music."
        ),
        page.table(
            caption,
            ["level", "prior", "histogram entropy", "saved", f"goal: {percent(_GOAL, 0)}"],
            body,
        ),
        [
            page.note(f"Left out: the prior of level {level} has no figures yet.")
            for level in missing
        ],
    ]


def _loss_curves(road: Road, assets: Assets) -> object:
    drawn, missing = {}, []

    def draw(name: str, title: str, curves: list[pictures.Curve], y_label: str, lines=None) -> None:
        curves = [curve for curve in curves if len(curve.x)]
        if not curves:
            missing.append(title)
            return
        path = assets.new(f"curve_{name}.png")
        pictures.curve_picture(
            curves, path, title, x_label="training step", y_label=y_label, lines=lines
        )
        shown = page.picture(assets.link(path), f"{title}: {y_label} by training step")
        drawn[name] = page.card("", shown)

    def both(run: Run | None, key: str, colour: int) -> list[pictures.Curve]:
        return [
            pictures.Curve(name, *run.series(key, split), colour=colour, faint=split == "train")
            for split, name in (("train", "training music"), ("heldout", "kept for testing"))
            if run
        ]

    draw("vqvae", "VQ-VAE, the loss", both(road.vqvae, "loss", 1), "loss")
    levels = [
        pictures.Curve(
            f"level {level}",
            *road.vqvae.series(f"level_{level}/spectral_convergence", "heldout"),
            colour=level,
        )
        for level in LEVELS
        if road.vqvae
    ]
    draw("vqvae_fidelity", "VQ-VAE, kept for testing", levels, "spectral convergence")
    for level in LEVELS:
        run = road.priors.get(level)
        entropy = run.heldout("histogram_entropy") if run else None
        lines = {"entropy of the histogram": entropy} if entropy else None
        curves = both(run, "bits_per_code", level)
        draw(f"prior_{level}", f"Prior of level {level}", curves, "bits per code", lines)
    return [
        page.grid([card for name, card in drawn.items() if "vqvae" in name], columns=2),
        page.grid([card for name, card in drawn.items() if "prior" in name]),
        page.note(f"Left out, since nothing is logged yet: {', '.join(missing)}.")
        if missing
        else "",
    ]


def _codebooks(road: Road, assets: Assets) -> object:
    counts, source = road.codebook_counts()
    if not counts:
        return page.note("Left out: there are no codes to count.")
    cards = []
    for level, occurrences in counts.items():
        path = assets.new(f"codebook_{level}.png")
        pictures.codebook_picture(occurrences, path, f"Level {level}")
        alt = f"Level {level}: share of all codes, from the most used code to the least"
        cards.append(page.card("", page.picture(assets.link(path), alt)))
    figures = {level: codebook.figures(occurrences) for level, occurrences in counts.items()}
    rows = [
        (
            _LEVEL_NAMES[level],
            f"{use.used:,} of {use.size:,}",
            percent(use.used / use.size),
            page.number(use.entropy_bits, ".2f", "bits"),
            page.number(use.perplexity, ",.0f"),
        )
        for level, use in figures.items()
    ]
    columns = ["level", "codes in use", "usage", "entropy", "perplexity"]
    explained = page.note(
        "Perplexity is the size of an evenly used codebook that would say as much. " + source
    )
    return [
        page.table("How much of each codebook is in use", columns, rows),
        explained,
        page.grid(cards),
    ]


def _corpus(road: Road, assets: Assets) -> object:
    del assets
    corpus = road.corpus
    parts = []
    if len(corpus):
        rows, separated = [], any(corpus.separation.values())
        for split, name in (("train", "training"), ("heldout", "kept for testing")):
            for track in corpus.splits.get(split, []):
                row = [
                    words(track.get("name")),
                    words(track.get("artist")) or "unknown",
                    words(track.get("genre")) or "unknown",
                    name,
                    page.duration((figure(track.get("samples")) or 0) / corpus.sample_rate),
                    page.number(track.get("bpm"), ".1f"),
                ]
                if separated:
                    before, after = corpus.separation.get(words(track.get("name"))) or (None, None)
                    row += [page.number(before, ".1f", "dB"), page.number(after, ".1f", "dB")]
                rows.append(row)
        columns = ["track", "artist", "genre", "use", "length", "bpm"]
        columns += ["SI-SDR before", "after"] if separated else []
        hidden = len(rows) - _MAX_ROWS
        parts.append(page.table(_corpus_caption(road), columns, rows[:_MAX_ROWS], text=4))
        parts.append(page.note(f"And {hidden:,} more tracks.") if hidden > 0 else "")
        if separated:
            parts.append(
                page.note(
                    "SI-SDR says how close the music is to its own instrumental part, before and "
                    "after the voice was taken out; higher is closer."
                )
            )
    else:
        parts.append(page.note("Left out: there is no prepared music."))
    if corpus.refused:
        refused = [(name, reason) for name, reason in corpus.refused[:_MAX_ROWS]]
        parts.append(page.table("Files that were not used", ["file", "reason"], refused, text=2))
    return parts


def _corpus_caption(road: Road) -> str:
    count, separator = len(road.corpus), road.corpus.separator
    caption = f"{count} track{'' if count == 1 else 's'}, {page.duration(road.corpus.seconds)}"
    if separator and separator != "none":
        caption += f"; voices taken out with {separator}"
    return caption


def _times(road: Road, assets: Assets) -> object:
    del assets
    seconds, source = road.stage_seconds()
    if not seconds:
        return page.note("Left out: no timings were measured.")
    longest, total = max(max(seconds.values()), 1e-9), sum(seconds.values())
    rows = [
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


def _commands(road: Road, assets: Assets) -> object:
    del assets
    parts = []
    if road.commands:
        parts.append(page.tag("pre", road.commands.strip()))
    else:
        parts.append(page.note("Left out: no file of commands was given."))
    if road.model:
        parts.append(page.details("The exported model", page.tag("pre", tracks.pretty(road.model))))
    return parts


CHAPTERS = (
    ("listen", "Listen", _listen),
    ("codes", "What the codes keep of the music", _hear_codes),
    ("prediction", "What the priors learned", _predict),
    ("curves", "How the training went", _loss_curves),
    ("codebooks", "How the codes are used", _codebooks),
    ("corpus", "The music it listened to", _corpus),
    ("times", "How long it took", _times),
    ("commands", "The commands", _commands),
)
