"""Time and memory of attention against length on logarithmic axes, beside slopes 1.5 and 2."""

from pathlib import Path

_LOOKS = {"pattern": ("#2f86d6", "pattern 1, 2, 3"), "dense3": ("#e4622e", "three dense layers")}
_FIGURES = {"seconds": "seconds, forward and backward", "peak_memory_bytes": "bytes"}


def draw(path: Path, rows: list[dict]) -> None:
    """Writes a PNG of the rows of `bench attention` that have a time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), dpi=100, layout="constrained")
    for axis, (field, label) in zip(axes, _FIGURES.items(), strict=True):
        for kind, (colour, name) in _LOOKS.items():
            points = [
                (one["seq_len"], one[field])
                for one in rows
                if one["kind"] == kind and one["direction"] == "forward+backward" and one["seconds"]
            ]
            if not points:
                continue
            lengths, values = zip(*points, strict=True)
            axis.loglog(lengths, values, "o-", color=colour, label=name)
            slope = 2.0 if kind == "dense3" else 1.5
            guide = [values[-1] * (n / lengths[-1]) ** slope for n in lengths]
            axis.loglog(lengths, guide, ":", color="#8a919e", label=f"n^{slope:g}")
        axis.set_xlabel("positions")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)
