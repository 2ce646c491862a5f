"""What each attention kind sees, drawn from the masks that define them: docs/attention/*.png."""

from pathlib import Path

import numpy as np

from jukejax.ops.attention.kinds import AttentionKind, visible_positions

ROWS, BLOCK_LEN = 8, 8
SPREAD, PRIME_LEN = 3, 16
_NAMES = {
    AttentionKind.DENSE: "0 dense",
    AttentionKind.BLOCK: "1 block",
    AttentionKind.TRANSPOSED_BLOCK: "2 transposed block",
    AttentionKind.PREVIOUS_BLOCK: "3 previous block",
    AttentionKind.SUMMARY: "4 summary",
    AttentionKind.SUMMARY_SPREAD: "5 summary spread",
    AttentionKind.PRIME: "7 prime",
}
_PAPER, _INK = "#eef0f4", "#2f86d6"


def masks() -> dict[str, np.ndarray]:
    """By title, bool [query, key] of a sequence of 8 rows of 8."""
    found = {
        name: np.asarray(
            visible_positions(
                kind, ROWS * BLOCK_LEN, block_len=BLOCK_LEN, spread=SPREAD, prime_len=PRIME_LEN
            )
        )
        for kind, name in _NAMES.items()
    }
    own = np.eye(ROWS * BLOCK_LEN, dtype=bool)  # the residual stream
    reach = own
    for name in ("1 block", "2 transposed block", "3 previous block"):
        reach = (found[name] | own).astype(int) @ reach.astype(int) > 0
    return found | {"1, 2 and 3 one after the other": reach}


def draw(folder: Path) -> list[Path]:
    """Writes kinds.png, a panel for each kind: queries down, keys to the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    folder.mkdir(parents=True, exist_ok=True)
    found = masks()
    figure, axes = plt.subplots(2, 4, figsize=(9.6, 5.0), dpi=80, layout="constrained")
    for axis, (name, mask) in zip(axes.flat, found.items(), strict=True):
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
