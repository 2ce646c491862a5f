"""Code shards and samples of any size, to see how the audit scales: no music, but its statistics.

    python -m tests.support.synthetic_codes FOLDER HOURS

writes FOLDER/vqvae (random weights, 2048 codes), FOLDER/codes (HOURS of codes in tracks of five
minutes) and FOLDER/samples (10 items of 90 s; the even ones hold 20 s of a training track).
"""

import json
import sys
from pathlib import Path

import numpy as np

from jukejax.data import corpus, vocabularies
from jukejax.data.writer import DatasetWriter
from jukejax.inference.codec import Codec
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights import bundle
from tests.support import small_bundle

SECOND = 44100 / 128
COPIED = range(30, 50)  # seconds of the even items
CONFIG = VQVAEConfig(  # the released codebooks; nothing is encoded
    emb_dim=64, codebook_size=2048, width=4, depth=1, multipliers=(1, 1, 1)
)


def codes(random: np.random.Generator, seconds: float) -> np.ndarray:
    """uint16 [time]: bars that come back with changes, codes that last, codes of unequal share."""
    count, bar = int(seconds * SECOND), int(2 * SECOND)
    bars = (2048 * random.random((8, bar)) ** 2).astype(np.uint16)
    bars = np.where(random.random((8, bar)) < 0.3, np.roll(bars, 1, axis=1), bars)
    found = bars[random.integers(0, 8, count // bar + 1)].ravel()[:count]
    changed = random.random(count) < 0.2
    found[changed] = (2048 * random.random(changed.sum()) ** 2).astype(np.uint16)
    return found


def write(folder: Path, hours: float, *, items: int = 10, seconds: float = 90.0) -> None:
    random = np.random.default_rng(0)
    weights = small_bundle.random_weights(CONFIG)
    bundle.save_part(folder / "vqvae", small_bundle.describe(CONFIG), weights)
    info = {
        "codebook_size": CONFIG.codebook_size,
        "vqvae": Codec.load(folder / "vqvae").identity,
        "separator": "none",
        "source": "synthetic",
    }
    vocabulary = vocabularies.Vocabulary.build(["a"], ["house"])
    count, some = max(round(hours * 12), 5), []
    with DatasetWriter(folder / "codes", kind="codes", vocabulary=vocabulary, **info) as writer:
        for i in range(count + 10):
            top = codes(random, hours * 3600 / count)
            if len(some) < items:
                some.append(top)
            levels = {f"level_{k}": np.zeros(len(top) * 4 ** (2 - k), np.uint16) for k in (0, 1)}
            track = corpus.Track(f"track {i}", "a", ("house",), content=str(i))
            writer.add("train" if i < count else "heldout", track, level_2=top, **levels)
    for i in range(items):
        made = codes(random, seconds)
        if i % 2 == 0:
            first, last = (round(s * SECOND) for s in (COPIED.start, COPIED.stop))
            made[first:last] = some[i][first + 777 : last + 777]
        item = folder / "samples" / f"item_{i:03d}"
        item.mkdir(parents=True, exist_ok=True)
        np.savez(item / "codes.npz", level_2=made)
        (item / "meta.json").write_text(json.dumps({"seconds": seconds, "prompt_seconds": 0.0}))


if __name__ == "__main__":
    write(Path(sys.argv[1]), float(sys.argv[2]))
