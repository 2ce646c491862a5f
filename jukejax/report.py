"""Writes one page with the results of a whole pipeline, and prints its key figures.

    python -m jukejax.report --audio=runs/audio --codes=runs/codes --vqvae=runs/vqvae \\
        --priors=runs/prior_2,runs/prior_1,runs/prior_0 --samples=runs/samples --output=runs/report

    python -m jukejax.report --compare=runs/vq,runs/kl,runs/none --output=runs/comparison

    python -m jukejax.report --milestones=33000,90000 --priors=runs/prior --vqvae=runs/vqvae \\
        --codes=runs/codes --output=runs/milestones

OUTPUT/index.html has players of the tracks, originals and reconstructions, loss curves, codebook
use, the corpus, and times. Chapters whose folders are not given or do not exist are replaced by a
note. With --compare the page has reconstruction error, rate and sound of several VQ-VAEs instead,
such as ones with other bottlenecks (config.model.bottleneck: vq, kl or none). With --milestones it
has the tracks of the same seeds and prompts at several steps of a prior's training, side by side.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from jukejax import cli
from jukejax.pages import comparison, report
from jukejax.pages.pipeline import PipelinePaths
from jukejax.weights.shipped import resolve_model

FLAGS = flags.FlagValues()


class _StepsParser(flags.ArgumentParser):
    """Parses `--milestones`, `--milestones=33000,53000` and `--nomilestones`."""

    def parse(self, argument: str) -> tuple[int, ...] | None:
        """Returns the steps, () for all; None without the flag."""
        if argument == "false":
            return None
        if argument == "true":
            return ()
        texts = argument.split(",")
        if not all(text.isascii() and text.isdecimal() for text in texts):
            raise ValueError("its value is a list of steps such as 33000,53000,90000, or none")
        return tuple(map(int, texts))


flags.DEFINE_string("audio", None, "Folder of audio shards that prepare wrote.", flag_values=FLAGS)
flags.DEFINE_string("codes", None, "Folder of code shards that encode wrote.", flag_values=FLAGS)
flags.DEFINE_string("vqvae", None, "Working folder of the VQ-VAE's training.", flag_values=FLAGS)
flags.DEFINE_string(
    "control",
    None,
    "Working folder of a VQ-VAE with a frozen codebook, to compare with.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "priors",
    [],
    "Working folders of the priors, that of the top level first, such as those of levels 2,1,0.",
    flag_values=FLAGS,
)
flags.DEFINE_string("bundle", None, "Folder of the exported model.", flag_values=FLAGS)
flags.DEFINE_list(
    "samples",
    [],
    "Folders of generated tracks that sample wrote, separated by commas.",
    flag_values=FLAGS,
)
flags.DEFINE_string("commands", None, "Text file of the commands that were run.", flag_values=FLAGS)
flags.DEFINE_string(
    "timings", None, "JSON file {stage: seconds}, stages in the order they ran.", flag_values=FLAGS
)
flags.DEFINE_list(
    "compare",
    [],
    "Working folders of VQ-VAEs' trainings to compare with each other, separated by commas.",
    flag_values=FLAGS,
)
flags.DEFINE_flag(
    flags.Flag(
        _StepsParser(),
        None,
        "milestones",
        None,
        "Compare these steps of the first of --priors, or without a value all of which it keeps a "
        "checkpoint: the same seeds and prompts, losses, audit (against --audio and --codes) and "
        "rhythm. Its VQ-VAE and finer priors are the latest of --vqvae, --priors and --bundle.",
        boolean=True,
    ),
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "prompts",
    [],
    "For --milestones: sound files to continue, beside the tracks without a prompt.",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "prompt_seconds",
    4.0,
    "For --milestones: used seconds of each prompt.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "seconds",
    12.0,
    "For --milestones: length of each track, prompt included.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_samples",
    2,
    "For --milestones: tracks without a prompt, and of each prompt.",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", 0, "For --milestones: seed of the tracks.", flag_values=FLAGS)
flags.DEFINE_string("artist", None, "For --milestones: artist of the tracks.", flag_values=FLAGS)
flags.DEFINE_string("genre", None, "For --milestones: genre of the tracks.", flag_values=FLAGS)
flags.DEFINE_string(
    "output", None, "Folder to write the page to (index.html and its files).", flag_values=FLAGS
)


def main() -> int:
    """Writes the page; prints a warning for a missing path, so that unfinished runs have a page."""
    if not FLAGS.output:
        raise ValueError("--output is missing: name the folder to write the page to")
    if FLAGS.compare:
        return _write_comparison()
    if FLAGS.milestones is not None:
        return _write_milestones()
    fields = [field.name for field in dataclasses.fields(PipelinePaths)]
    values: dict[str, Any] = {name: FLAGS[name].value for name in fields}
    paths = PipelinePaths(**values)
    named_paths = [
        (name, path)
        for name, value in values.items()
        for path in ([value] if isinstance(value, str) else value or [])
        if path
    ]
    if not named_paths:
        raise ValueError("nothing to show: give at least one of --samples, --vqvae, --priors, ...")
    for name, path in named_paths:
        if not Path(path).exists():
            print(
                f"warning: --{name}={path} does not exist; the page leaves it out", file=sys.stderr
            )
    _print_results(*report.write_pipeline_page(FLAGS.output, paths))
    return 0


def _write_comparison() -> int:
    """Writes the page of --compare.

    Raises:
      ValueError: there are other chapters to write, or a run cannot be compared.
    """
    others = [field.name for field in dataclasses.fields(PipelinePaths) if FLAGS[field.name].value]
    if others:
        raise ValueError(f"--compare writes a page of its own: remove --{others[0]}")
    _print_results(*comparison.write_comparison_page(FLAGS.output, FLAGS.compare))
    return 0


def _write_milestones() -> int:
    """Writes the page of --milestones.

    Raises:
      ValueError: a flag is missing or for another page, or the run cannot be sampled.
    """
    others = [name for name in ("control", "samples", "commands", "timings") if FLAGS[name].value]
    if others:
        raise ValueError(f"--milestones writes a page of its own: remove --{others[0]}")
    if not FLAGS.priors or not (FLAGS.vqvae or FLAGS.bundle):
        raise ValueError(
            "--milestones needs --priors, the workdir of the run, and its VQ-VAE in --vqvae or "
            "--bundle"
        )
    from jukejax.milestones.run import MilestoneOptions, compare_milestones

    run, *finer = FLAGS.priors
    options = MilestoneOptions(
        run=run,
        parts=[resolve_model(part) for part in (FLAGS.vqvae, *finer, FLAGS.bundle) if part],
        output=Path(FLAGS.output),
        steps=FLAGS.milestones,
        audio=FLAGS.audio,
        codes=FLAGS.codes,
        num_samples=FLAGS.num_samples,
        seed=FLAGS.seed,
        prompts=FLAGS.prompts,
        prompt_seconds=FLAGS.prompt_seconds,
        seconds=FLAGS.seconds,
        artist=FLAGS.artist,
        genre=FLAGS.genre,
    )
    _print_results(*compare_milestones(options))
    return 0


def _print_results(index: Path, figures: Sequence[tuple[str, str]]) -> None:
    """Prints the key figures and the address of a page."""
    width = max((len(name) for name, _ in figures), default=0)
    for name, value in figures:
        print(f"  {name:<{width}}  {value}".replace("\u00a0", " "))
    print(f"Look and listen: {index.resolve().as_uri()}")


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
