"""Conclusions and pictures of `bench attention`: exponents, crossovers, plots, masks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.benches import common
from jukejax.ops.attention.kinds import AttentionKind, Grid, visible_positions

FIT_FROM, FIT_TO = 1024, 32768  # range of lengths for the fit of exponents
CURVES = {"pattern": ("#2f86d6", "pattern 1, 2, 3"), "dense3": ("#e4622e", "three dense layers")}
AXES = {"seconds": "seconds, forward and backward", "peak_memory_bytes": "bytes"}
ROWS, BLOCK_LEN = 8, 8  # of the drawn masks
SPREAD, PRIME_LEN = 3, 16
MASK_NAMES = {
    AttentionKind.DENSE: "0 dense",
    AttentionKind.BLOCK: "1 block",
    AttentionKind.TRANSPOSED_BLOCK: "2 transposed block",
    AttentionKind.PREVIOUS_BLOCK: "3 previous block",
    AttentionKind.SUMMARY: "4 summary",
    AttentionKind.SUMMARY_SPREAD: "5 summary spread",
    AttentionKind.PRIME: "7 prime",
}
_PAPER, _INK = "#eef0f4", "#2f86d6"


def compare_rows(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields fitted exponents, ratios of three dense layers to the pattern, and crossovers."""
    for direction in dict.fromkeys(row["direction"] for row in rows):
        for kind in dict.fromkeys(row["kind"] for row in rows):
            yield from _fit_exponents(rows, kind, direction)
        yield from _compare_pattern(rows, direction)


def _read_curve(
    rows: list[dict[str, Any]], kind: str, direction: str, field: str
) -> dict[int, float]:
    """Returns a field by length, of the rows with a time."""
    return {
        row["seq_len"]: row[field]
        for row in rows
        if (row["kind"], row["direction"]) == (kind, direction) and row["seconds"]
    }


def _fit_exponents(
    rows: list[dict[str, Any]], kind: str, direction: str
) -> Iterator[dict[str, Any]]:
    curves = [_read_curve(rows, kind, direction, f) for f in ("seconds", "peak_memory_bytes")]
    lengths = [length for length in curves[0] if FIT_FROM <= length <= FIT_TO]
    if len(lengths) < 3:
        return
    time_exponent, memory_exponent = (
        float(np.polyfit(np.log(lengths), np.log([curve[n] for n in lengths]), 1)[0])
        for curve in curves
    )
    yield common.make_row(
        "attention",
        f"fitted exponents, {lengths[0]} to {lengths[-1]}",
        kind=kind,
        direction=direction,
        time_exponent=time_exponent,
        memory_exponent=memory_exponent,
        theory=2.0 if kind.startswith("dense") else 1.0 if kind == "prime" else 1.5,
    )


def _compare_pattern(rows: list[dict[str, Any]], direction: str) -> Iterator[dict[str, Any]]:
    sparse, dense = (_read_curve(rows, kind, direction, "seconds") for kind in CURVES)
    small, large = (_read_curve(rows, kind, direction, "peak_memory_bytes") for kind in CURVES)
    lengths = sorted(sparse.keys() & dense.keys())
    for length in lengths:
        yield common.make_row(
            "attention",
            "three dense layers / the pattern",
            direction=direction,
            seq_len=length,
            times_faster=dense[length] / sparse[length],
            times_less_memory=large[length] / small[length],
        )
    if lengths:
        faster = [n for n in lengths if all(sparse[m] < dense[m] for m in lengths if m >= n)]
        yield common.make_row(
            "attention",
            "length from which the pattern is faster",
            direction=direction,
            crossover=faster[0] if faster else None,
            shortest_measured=lengths[0],
        )


def plot_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plots time and memory against length on logarithmic axes, beside slopes 1.5 and 2, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), dpi=100, layout="constrained")
    for axis, (field, label) in zip(axes, AXES.items(), strict=True):
        for kind, (color, name) in CURVES.items():
            curve = _read_curve(rows, kind, "forward+backward", field)
            if not curve:
                continue
            lengths, values = zip(*curve.items(), strict=True)
            axis.loglog(lengths, values, "o-", color=color, label=name)
            slope = 2.0 if kind == "dense3" else 1.5
            guide = [values[-1] * (n / lengths[-1]) ** slope for n in lengths]
            axis.loglog(lengths, guide, ":", color="#8a919e", label=f"n^{slope:g}")
        axis.set_xlabel("positions")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


def compute_masks() -> dict[str, np.ndarray]:
    """Returns by title the mask of each kind, bool [query, key], for 8 rows of 8 positions."""
    grid = Grid(ROWS, BLOCK_LEN, spread=SPREAD, prime_len=PRIME_LEN)
    masks = {
        name: np.asarray(visible_positions(kind, ROWS * BLOCK_LEN, grid))
        for kind, name in MASK_NAMES.items()
    }
    is_own = np.eye(ROWS * BLOCK_LEN, dtype=bool)  # the residual stream
    reach = is_own
    for name in ("1 block", "2 transposed block", "3 previous block"):
        reach = (masks[name] | is_own).astype(int) @ reach.astype(int) > 0
    return masks | {"1, 2 and 3 one after the other": reach}


def draw_masks(folder: Path) -> list[Path]:
    """Writes kinds.png, a panel for each kind: queries down, keys to the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(2, 4, figsize=(9.6, 5.0), dpi=80, layout="constrained")
    for axis, (name, mask) in zip(axes.flat, compute_masks().items(), strict=True):
        axis.imshow(mask, cmap=ListedColormap([_PAPER, _INK]), interpolation="nearest")
        axis.set_title(name, fontsize=10)
        edges = np.arange(0, ROWS * BLOCK_LEN + 1, BLOCK_LEN) - 0.5
        axis.set_xticks(edges, labels=[])
        axis.set_yticks(edges, labels=[])
        axis.grid(color="white", linewidth=0.6)
        axis.tick_params(length=0)
    axes[0, 0].set_xlabel("keys", fontsize=8)
    axes[0, 0].set_ylabel("queries", fontsize=8)
    path = folder / "kinds.png"
    figure.savefig(path)
    plt.close(figure)
    return [path]
