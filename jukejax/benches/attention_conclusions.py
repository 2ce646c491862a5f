"""What follows from the rows of `bench attention`: exponents, ratios, and where lines cross."""

from collections.abc import Iterator

import numpy as np

from jukejax.benches import common

FIT_FROM, FIT_TO = 1024, 32768  # lengths through which exponents are fitted


def conclusions(found: list[dict]) -> Iterator[dict]:
    """Fitted exponents; the pattern against three dense layers; the length where they cross."""

    def curve(kind: str, direction: str, field: str) -> dict[int, float]:
        return {
            one["seq_len"]: one[field]
            for one in found
            if (one["kind"], one["direction"]) == (kind, direction) and one["seconds"]
        }

    for direction in dict.fromkeys(one["direction"] for one in found):
        for kind in dict.fromkeys(one["kind"] for one in found):
            curves = [curve(kind, direction, f) for f in ("seconds", "peak_memory_bytes")]
            inside = [n for n in curves[0] if FIT_FROM <= n <= FIT_TO]
            if len(inside) < 3:
                continue
            fits = [
                float(np.polyfit(np.log(inside), np.log([c[n] for n in inside]), 1)[0])
                for c in curves
            ]
            yield common.row(
                "attention",
                f"fitted exponents, {inside[0]} to {inside[-1]}",
                kind=kind,
                direction=direction,
                time_exponent=fits[0],
                memory_exponent=fits[1],
                theory=2.0 if kind.startswith("dense") else 1.0 if kind == "prime" else 1.5,
            )
        sparse, dense = (curve(kind, direction, "seconds") for kind in ("pattern", "dense3"))
        shared = sorted(sparse.keys() & dense.keys())
        small, large = (
            curve(kind, direction, "peak_memory_bytes") for kind in ("pattern", "dense3")
        )
        for length in shared:
            yield common.row(
                "attention",
                "three dense layers / the pattern",
                direction=direction,
                seq_len=length,
                times_faster=dense[length] / sparse[length],
                times_less_memory=large[length] / small[length],
            )
        if shared:
            faster = [n for n in shared if all(sparse[m] < dense[m] for m in shared if m >= n)]
            yield common.row(
                "attention",
                "length from which the pattern is faster",
                direction=direction,
                crossover=faster[0] if faster else None,
                shortest_measured=shared[0],
            )
