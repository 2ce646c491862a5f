"""Chapters about the models of a pipeline: reconstructions, predictions, curves, codebooks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jukejax.analysis import codebook
from jukejax.pages import page, pictures
from jukejax.pages.assets import Assets
from jukejax.pages.pictures import Curve
from jukejax.pages.pipeline import LevelFidelity, PipelineResults
from jukejax.pages.runs import TrainingRun
from jukejax.pages.summary import format_percent

_GOAL = 0.15  # share of the histogram entropy that a prior should save on held-out music


def _name_level(results: PipelineResults, level: int) -> str:
    names = {0: "finest", results.levels[0]: "coarsest"}
    return f"{level}, {names.get(level, 'middle')}"


def render_codes_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns players of the original and of each level's reconstruction, and their errors."""
    cards = _reconstruction_cards(results, assets)
    content: list[object] = [
        page.note(
            "The VQ-VAE encodes music as codes and decodes the codes to music. These are held-out "
            "music and its reconstruction at each level."
        )
        if cards
        else page.note("Left out: the VQ-VAE has no reconstructions yet."),
        page.grid(cards, columns=2) if cards else "",
    ]
    rows = results.list_fidelity()
    if not rows:
        return [*content, page.note("Left out: the VQ-VAE has no held-out figures yet.")]
    content.append(
        page.table(
            "Spectral convergence on held-out tracks: 0 is perfect, lower is better",
            ["level", "trained", "frozen codebook", "margin"],
            [_fidelity_cells(results, row) for row in rows],
        )
    )
    if not results.control:
        explanation = "Left out: no control with a frozen codebook was trained."
    else:
        explanation = (
            "The control is the same network, trained in the same way with a frozen codebook."
        )
    return [*content, page.note(explanation)]


def _reconstruction_cards(results: PipelineResults, assets: Assets) -> list[page.Html]:
    folder = results.vqvae.folder / "reconstruction" if results.vqvae else Path()
    sounds = [("original", "The original", "the original recording")]
    sounds += [
        (f"level_{level}", f"Level {level}", f"one code for every {hop} samples")
        for level, hop in enumerate(results.hops)
    ]
    return [
        page.card(
            title,
            assets.add_sound(
                folder / f"{stem}.wav", f"heard_{stem}", title, f"{title}: {description}"
            ),
            page.note(f"{description[0].upper()}{description[1:]}."),
            strong=stem == "original",
        )
        for stem, title, description in sounds
        if (folder / f"{stem}.wav").is_file()
    ]


def _fidelity_cells(results: PipelineResults, fidelity: LevelFidelity) -> tuple[str, str, str, str]:
    margin = "–"
    if fidelity.margin is not None:
        side = "lower" if fidelity.margin > 0 else "higher"
        margin = f"{format_percent(abs(fidelity.margin))} {side}"
    errors = page.number(fidelity.trained, ".4f"), page.number(fidelity.control, ".4f")
    return _name_level(results, fidelity.level), *errors, margin


def render_prediction_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns a table of the bits per code that each prior needs on held-out music."""
    del assets
    predictions = results.list_prediction()
    if not predictions:
        return page.note("Left out: no prior has held-out figures yet.")
    rows = []
    for prediction in predictions:
        saved = prediction.saved
        verdict = "–" if saved is None else "✓ reached" if saved >= _GOAL else "✗ missed"
        costs = page.number(prediction.bits, ".3f"), page.number(prediction.entropy, ".3f")
        level = _name_level(results, prediction.level)
        rows.append((level, *costs, format_percent(saved), verdict))
    evaluated = [prediction.level for prediction in predictions]
    return [
        page.note(
            "A prior predicts each code of held-out music from the codes before it. The histogram "
            "entropy is the cost of a prediction from the frequency of the codes alone; saved is "
            "the share of it that the prior saves."
        ),
        page.table(
            "Bits per code on held-out tracks: lower is better",
            ["level", "prior", "histogram entropy", "saved", f"goal: {format_percent(_GOAL, 0)}"],
            rows,
        ),
        [
            page.note(f"Left out: the prior of level {level} has no figures yet.")
            for level in results.levels
            if level not in evaluated
        ],
    ]


class _CurveCards:
    """Draws training curves and collects a card for each picture."""

    def __init__(self, assets: Assets):
        self._assets = assets
        self.missing: list[str] = []  # titles of pictures without data

    def draw_curves(
        self,
        name: str,
        title: str,
        curves: Sequence[Curve],
        y_label: str,
        lines: Mapping[str, float] | None = None,
    ) -> list[page.Html]:
        """Returns the card of one picture; [] if there is nothing to draw."""
        curves = [curve for curve in curves if len(curve.x)]
        if not curves:
            self.missing.append(title)
            return []
        path = self._assets.new_path(f"curve_{name}.png")
        pictures.write_curve_picture(
            curves, path, title, x_label="training step", y_label=y_label, lines=lines
        )
        alt = f"{title}: {y_label} by training step"
        return [page.card("", page.picture(self._assets.relative_path(path), alt))]


def _split_curves(run: TrainingRun | None, key: str, color: int) -> list[Curve]:
    """Returns the curves of one metric on training and on held-out music."""
    return [
        Curve(name, *run.select_series(key, split), color=color, faint=split == "train")
        for split, name in (("train", "training music"), ("heldout", "held out"))
        if run
    ]


def render_curves_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns pictures of the training curves of all models."""
    cards = _CurveCards(assets)
    loss = _split_curves(results.vqvae, "loss", 1)
    vqvae = cards.draw_curves("vqvae", "VQ-VAE, the loss", loss, "loss")
    levels = [
        Curve(
            f"level {level}",
            *results.vqvae.select_series(f"level_{level}/spectral_convergence", "heldout"),
            color=level,
        )
        for level in results.levels
        if results.vqvae
    ]
    vqvae += cards.draw_curves("vqvae_fidelity", "VQ-VAE, held out", levels, "spectral convergence")
    priors = []
    for level in results.levels:
        run = results.priors.get(level)
        entropy = run.find_heldout("histogram_entropy") if run else None
        lines = {"entropy of the histogram": entropy} if entropy else None
        curves = _split_curves(run, "bits_per_code", level)
        priors += cards.draw_curves(
            f"prior_{level}", f"Prior of level {level}", curves, "bits per code", lines
        )
    missing = f"Left out, since nothing is logged yet: {', '.join(cards.missing)}."
    return [
        page.grid(vqvae, columns=2),
        page.grid(priors),
        page.note(missing) if cards.missing else "",
    ]


def render_codebooks_chapter(results: PipelineResults, assets: Assets) -> object:
    """Returns a table and pictures of the use of each level's codebook."""
    counts, source = results.count_codes()
    if not counts:
        return page.note("Left out: there are no codes to count.")
    cards, rows = [], []
    for level, occurrences in counts.items():
        path = assets.new_path(f"codebook_{level}.png")
        pictures.write_codebook_picture(occurrences, path, f"Level {level}")
        alt = f"Level {level}: share of all codes, from the most used code to the least"
        cards.append(page.card("", page.picture(assets.relative_path(path), alt)))
        use = codebook.measure_usage(occurrences)
        rows.append(
            (
                _name_level(results, level),
                f"{use.used:,} of {use.size:,}",
                format_percent(use.used / use.size),
                page.number(use.entropy_bits, ".2f", "bits"),
                page.number(use.perplexity, ",.0f"),
            )
        )
    columns = ["level", "codes in use", "usage", "entropy", "perplexity"]
    return [
        page.table("Use of each codebook", columns, rows),
        page.note(
            "Perplexity is the size of an evenly used codebook of the same entropy. " + source
        ),
        page.grid(cards),
    ]
