"""Fits the weights of the key estimator to sounds of known keys, and prints them.

    .venv/bin/python launch/fit_key.py SOUNDS.csv

SOUNDS.csv has the columns path, key and weight. The weights of `analysis.musical_key` are a
logistic regression over the 24 keys which is the same at every tonic.

Letters: N sounds, P parameters.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import scipy.optimize

from jukejax.analysis.musical_key import MODES, measure_harmony, scale_harmony, score_keys
from jukejax.data import audio
from jukejax.data.grid import TONICS

PENALTY = 3e-4  # of the squared weights
SHAPE = (len(MODES), 3, 12)


def load_sounds(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns scaled harmonies, [N, 3, 12], indices of keys and weights, [N] each, of sum 1."""
    harmonies, keys, weights = [], [], []
    with path.open(newline="") as table:
        for row in csv.DictReader(table):
            mono = audio.load_audio(row["path"]).samples.mean(axis=1)
            harmony = measure_harmony(mono, audio.SAMPLE_RATE)
            if harmony is None:
                print(f"{row['path']}: no pitches, left out")
                continue
            tonic, mode = row["key"].split()
            harmonies.append(scale_harmony(harmony))
            keys.append(12 * MODES.index(mode) + TONICS.index(tonic))
            weights.append(float(row["weight"]))
    return np.stack(harmonies), np.array(keys), np.array(weights) / np.sum(weights)


def measure_loss(
    params: np.ndarray, from_tonic: np.ndarray, keys: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Returns the penalized negative log likelihood and its gradient, [P].

    Args:
      from_tonic: harmonies from each tonic up, [N, 12, 36].
    """
    profiles = params[:-1].reshape(len(MODES), -1)
    logits = np.moveaxis(from_tonic @ profiles.T, 1, 2) + np.array([[0.0], [params[-1]]])
    logits = logits.reshape(len(keys), -1)
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    rows = np.arange(len(keys))
    loss = -weights @ np.log(probabilities[rows, keys]) + PENALTY * np.square(profiles).sum()
    slope = probabilities
    slope[rows, keys] -= 1
    slope = (slope * weights[:, None]).reshape(len(keys), len(MODES), 12)
    gradient = np.einsum("nmt,ntf->mf", slope, from_tonic) + 2 * PENALTY * profiles
    return float(loss), np.append(gradient.ravel(), slope[:, 1].sum())


def fit_weights(
    harmonies: np.ndarray, keys: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """Fits weights, of `SHAPE`, and the advantage of minor keys."""
    from_tonic = np.stack([np.roll(harmonies, -tonic, axis=2) for tonic in range(12)], axis=1)
    result = scipy.optimize.minimize(
        measure_loss,
        np.zeros(np.prod(SHAPE) + 1),
        args=(from_tonic.reshape(len(keys), 12, -1), keys, weights),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000},
    )
    return result.x[:-1].reshape(SHAPE), float(result.x[-1])


def main() -> None:
    """Fits and prints the weights, and the share of keys that they find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sounds", type=Path)
    harmonies, keys, weights = load_sounds(parser.parse_args().sounds)
    profiles, advantage = fit_weights(harmonies, keys, weights)
    profiles, advantage = np.round(profiles, 1), round(advantage, 1)
    scores = [score_keys(harmony, profiles, advantage) for harmony in harmonies]
    hits = np.mean([score.argmax() == key for score, key in zip(scores, keys, strict=True)])
    for mode, rows in zip(MODES, profiles, strict=True):
        print(mode)
        for row in rows:
            print("    (" + ", ".join(f"{value + 0.0:.1f}" for value in row) + "),")
    print(f"advantage of minor keys: {advantage}\nkeys found: {100 * hits:.1f} % of {len(keys)}")


if __name__ == "__main__":
    main()
