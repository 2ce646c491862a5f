"""Make a model bundle out of training runs: what sample, evaluate and others load.

    python -m jukejax.export --workdir=runs/vqvae,runs/prior,runs/up1,runs/up0 --output=BUNDLE

A bundle holds weights (safetensors) and configs only, nothing that runs. The averaged (EMA)
weights are taken. The VQ-VAE is needed; priors may be missing.
"""

import sys
from pathlib import Path

from absl import flags

from jukejax import cli

WORKDIR = flags.DEFINE_list("workdir", None, "Workdirs of train, separated by commas.")
FORMAT = flags.DEFINE_enum("format", "bundle", ["bundle"], "What to make.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the bundle.")
LICENSE = flags.DEFINE_string(
    "license", "unspecified", "Licence of the weights, as written into the bundle."
)


def main() -> int:
    if not WORKDIR.value or OUTPUT.value is None:
        raise ValueError("--workdir and --output are needed; see --help")
    from jukejax import codec, loading
    from jukejax.weights import bundle

    parts = {}
    for workdir in WORKDIR.value:
        path = Path(workdir) / "description.json"
        if not path.exists():
            raise ValueError(f"{workdir} is no workdir of train (it has no description.json)")
        name = loading.part_name(bundle.read_json(path))
        if name in parts:
            raise ValueError(f"{workdir} and {parts[name][0]} are both {name}; give one of them")
        parts[name] = (workdir, *loading.load_part(workdir, name))
    if "vqvae" not in parts:
        raise ValueError("no workdir of a VQ-VAE among --workdir; a bundle needs one")
    _, codec_description, weights = parts["vqvae"]
    made_by = codec.content_hash(weights)
    vocabulary = {"artists": ["unknown"], "genres": ["unknown"]}
    levels = []
    for name, (workdir, prior, _) in parts.items():
        if name == "vqvae":
            continue
        if prior["vqvae"]["hash"] != made_by:
            raise ValueError(
                f"{workdir} was trained on codes of another VQ-VAE than {parts['vqvae'][0]}; give "
                "the one that encoded them"
            )
        vocabulary = prior["vocabulary"]
        levels.append(prior["level"])
    output = Path(OUTPUT.value)
    for name, (_, description, weights) in parts.items():
        bundle.save_part(output / name, description, weights)
        print(f"{name} written", file=sys.stderr)
    bundle.save_bundle(
        output,
        {
            "sample_rate": codec_description["sample_rate"],
            "hops": codec_description["hops"],
            "levels": sorted(levels),
            "vocabulary": vocabulary,
            "license": LICENSE.value,
            "provenance": [str(workdir) for workdir, _, _ in parts.values()],
        },
    )
    print(f"bundle with {', '.join(sorted(parts))}: {output}")
    return 0


if __name__ == "__main__":
    cli.run(main, __doc__)
