"""Make a model bundle, or files for others, out of training runs or of a bundle.

    python -m jukejax.export --workdir=runs/vqvae,runs/prior,runs/up1,runs/up0 --output=BUNDLE
    python -m jukejax.export --workdir=BUNDLE --format=huggingface --output=FOLDER

Formats:

    bundle       what sample, evaluate and others here load: weights (safetensors) and configs
    safetensors  one file a model, its config in the header
    openai       vqvae.pth.tar, prior_level_0, 1 and 2.pth.tar, as OpenAI's code loads them
    huggingface  what JukeboxModel.from_pretrained of Transformers 4.49 loads
    stablehlo    functions that run on jax alone: encode, decode, and the steps of sampling

Nothing in them runs on loading. Of a training run the averaged (EMA) weights are taken, or the
latest with --weights=raw. The VQ-VAE is needed; priors may be missing. Formats other than bundle
have an export.json beside them: configs, label vocabulary, provenance, licence.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.weights import checkpoints

FLAGS = flags.FlagValues()

WORKDIR = flags.DEFINE_list(
    "workdir", None, "Workdirs of train, separated by commas, or one bundle.", flag_values=FLAGS
)
FORMAT = flags.DEFINE_enum(
    "format",
    "bundle",
    ["bundle", "safetensors", "openai", "huggingface", "stablehlo"],
    "What to make; see above.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write.", flag_values=FLAGS)
WEIGHTS = flags.DEFINE_enum(
    "weights",
    "ema",
    ["ema", "raw"],
    "Of a training run: the moving average, or the latest.",
    flag_values=FLAGS,
)
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "newest",
    ["newest", "best"],
    "Of the runs of priors. best: where an evaluation on the way found the lowest held-out loss; "
    "for a run that began to learn its tracks by heart.",
    flag_values=FLAGS,
)
LICENSE = flags.DEFINE_string(
    "license",
    None,
    "Licence of the weights; without it that of the bundle, or unspecified.",
    flag_values=FLAGS,
)
SECONDS = flags.DEFINE_float(
    "seconds",
    6.0,
    "For stablehlo: audio that one call of encode or decode takes.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
BATCH = flags.DEFINE_integer(
    "batch", 1, "For stablehlo: items in a call.", lower_bound=1, flag_values=FLAGS
)
DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "float16", "bfloat16"],
    "For stablehlo: float type of the priors' weights and arithmetic.",
    flag_values=FLAGS,
)


@dataclasses.dataclass(frozen=True)
class Part:
    """One model: where it comes from, what it says of itself, and its weights when asked."""

    where: str
    description: dict
    load: Callable[[], Tree]


def from_workdirs(workdirs: list[str]) -> tuple[dict[str, Part], dict]:
    """Models by name ("vqvae", "level_0", ...) from training runs, and what holds for all."""
    from jukejax.inference import codec
    from jukejax.weights import loading

    parts: dict[str, Part] = {}
    for workdir in workdirs:
        path = Path(workdir) / "description.json"
        if not path.exists():
            raise ValueError(f"{workdir} is no workdir of train (it has no description.json)")
        description = files.read_json(path)
        name = loading.part_name(description)
        if name in parts:
            raise ValueError(f"{workdir} and {parts[name].where} are both {name}; give one of them")
        parts[name] = Part(workdir, description, _loader(workdir, name))
    if "vqvae" not in parts:
        raise ValueError("no workdir of a VQ-VAE among --workdir; a bundle needs one")
    averaged = loading.load_part(parts["vqvae"].where, "vqvae")[1]
    made_by = codec.content_hash(averaged)  # codes are made with the averaged weights
    vocabulary = {"artists": ["unknown"], "genres": ["unknown"]}
    for name, part in parts.items():
        if name == "vqvae":
            continue
        if part.description["vqvae"]["hash"] != made_by:
            raise ValueError(
                f"{part.where} was trained on codes of another VQ-VAE than {parts['vqvae'].where}; "
                "give the one that encoded them"
            )
        vocabulary = part.description["vocabulary"]
    return parts, {
        "vocabulary": vocabulary,
        "license": LICENSE.value or "unspecified",
        "provenance": [
            f"{part.where} ({WEIGHTS.value}{', best' * _best(name)})"
            for name, part in parts.items()
        ],
    }


def _best(name: str) -> bool:
    """Whether a model's best checkpoint is wanted; codes are made with the VQ-VAE's newest."""
    return CHECKPOINT.value == "best" and name != "vqvae"


def _loader(workdir: str, name: str) -> Callable[[], Tree]:
    def load() -> Tree:
        from jukejax.weights import loading

        if WEIGHTS.value == "ema":
            return loading.load_part(workdir, name, best=_best(name))[1]
        state = checkpoints.read_state(workdir, best=_best(name))
        return {"params": state["params"], "extra": state.get("extra") or {}}

    return load


def from_bundle(folder: str) -> tuple[dict[str, Part], dict]:
    """The same from a bundle, whose licence and provenance are kept."""
    from jukejax.weights import bundle, loading

    told = bundle.open_bundle(folder)
    if WEIGHTS.value == "raw" or CHECKPOINT.value == "best":
        raise ValueError(
            f"{folder} is a bundle and holds one set of weights; leave out --weights and "
            "--checkpoint"
        )
    parts = {}
    for name in ("vqvae", *(f"level_{level}" for level in sorted(told["levels"]))):
        place = Path(folder) / name
        if not place.is_dir() and name == "vqvae":
            raise ValueError(f"{folder} has no VQ-VAE; an export needs one")

        def load(name=name) -> Tree:
            return loading.load_part(folder, name)[1]

        parts[name] = Part(str(place), files.read_json(place / "config.json"), load)
    return parts, {
        "vocabulary": told["vocabulary"],
        "license": LICENSE.value or told["license"],
        "provenance": [*told["provenance"], f"exported from {folder}"],
    }


def write_bundle(output: Path, parts: dict[str, Part], facts: dict) -> None:
    from jukejax.weights import bundle

    for name, part in parts.items():
        bundle.save_part(output / name, part.description, part.load())
        print(f"{name} written", file=sys.stderr)
    bundle.save_bundle(output, facts)


def write_safetensors(output: Path, parts: dict[str, Part], facts: dict) -> None:
    """One file a model; names as in a bundle, everything else as JSON in the header."""
    from safetensors.numpy import save_file

    from jukejax.weights import bundle

    output.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        told = {"config": part.description, **facts}
        header = {key: json.dumps(value) for key, value in told.items()}
        with files.replacing(output / f"{name}.safetensors") as temporary:
            save_file(bundle.flatten(part.load()), temporary, metadata=header)
        print(f"{name} written", file=sys.stderr)


def write_openai(output: Path, parts: dict[str, Part], facts: dict) -> None:
    from jukejax.weights.openai import checkpoint as openai
    from jukejax.weights.openai import released

    openai.torch_module()
    told = {key: json.dumps(facts[key]) for key in ("license", "provenance")}
    for name, part in parts.items():
        _, config = released.described(part.description)
        state = openai.to_openai(config, part.load())
        openai.write_checkpoint(output / openai.file_name(name), state, told)
        print(f"{name} written", file=sys.stderr)


def write_huggingface(output: Path, parts: dict[str, Part], facts: dict) -> None:
    del facts
    from jukejax.weights.huggingface import checkpoint as huggingface
    from jukejax.weights.openai import released

    configs = dict(released.described(part.description) for part in parts.values())
    huggingface.write_model(output, configs, lambda name: parts[name].load())


def write_stablehlo(output: Path, parts: dict[str, Part], facts: dict) -> None:
    from jukejax.runtime import precision
    from jukejax.weights import bundle, stablehlo
    from jukejax.weights.openai import released

    _, vqvae = released.described(parts["vqvae"].description)
    codes = max(1, round(SECONDS.value * facts["sample_rate"] / vqvae.hops[-1]))
    for name, part in parts.items():
        _, config = released.described(part.description)
        weights = part.load()
        if name == "vqvae":
            flat = bundle.flatten(weights)
            functions = stablehlo.vqvae_functions(
                config, samples=codes * vqvae.hops[-1], batch=BATCH.value
            )
        else:
            dtype = precision.compute_dtype(DTYPE.value)
            flat = stablehlo.prior_weights(config, weights["params"], dtype)
            functions = stablehlo.prior_functions(config, flat, batch=BATCH.value)
        stablehlo.write(output / name, flat, functions)
        print(f"{name} written", file=sys.stderr)


WRITERS = {
    "bundle": write_bundle,
    "safetensors": write_safetensors,
    "openai": write_openai,
    "huggingface": write_huggingface,
    "stablehlo": write_stablehlo,
}


def main() -> int:
    if not WORKDIR.value or OUTPUT.value is None:
        raise ValueError("--workdir and --output are needed; see --help")

    first = Path(WORKDIR.value[0])
    if len(WORKDIR.value) == 1 and (first / "model.json").exists():
        parts, facts = from_bundle(WORKDIR.value[0])
    else:
        parts, facts = from_workdirs(WORKDIR.value)
    vqvae = parts["vqvae"].description
    facts = {
        "sample_rate": vqvae["sample_rate"],
        "hops": vqvae["hops"],
        "levels": sorted(int(name.removeprefix("level_")) for name in parts if name != "vqvae"),
        **facts,
    }
    output = Path(OUTPUT.value)
    WRITERS[FORMAT.value](output, parts, facts)
    if FORMAT.value != "bundle":
        described = {name: part.description for name, part in parts.items()}
        files.write_json(
            output / "export.json", {"layout": FORMAT.value, **facts, "parts": described}
        )
    print(f"{FORMAT.value} with {', '.join(sorted(parts))}: {output}")
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
