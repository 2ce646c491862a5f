"""Turns a folder of music into shards to train on: decode, take out the singer, label, split.

  python -m jukejax.prepare --input=MUSIC --output=DATA
  python -m jukejax.prepare --input=house --output=DATA          the embedded synthetic corpus
  python -m jukejax.prepare --input=tfds:gtzan --output=DATA     a set of TensorFlow Datasets

Files that cannot be used are named with the reason, here and in DATA/corpus.json; the rest go on.
Work done is kept in DATA/.work, or --cache: a run that was killed, or one with a few new files,
goes on there. With --runner=beam many machines share the work (BUILD.md).
"""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from jukejax import cli
from jukejax.common import files
from jukejax.common.formatting import format_clock
from jukejax.common.progress import Progress
from jukejax.data import audio, corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.preparation import (
    beam_runner,
    fates,
    groups,
    local_runner,
    metadata,
    places,
    rules,
    sources,
    tfds_source,
    tracks,
)
from jukejax.preparation import separators as separation
from jukejax.preparation.job import Job

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "input",
    None,
    "Folder of music, searched with its subfolders, also in a bucket (gs://...); 'house', the "
    "embedded corpus; or tfds:NAME[/config][:version], a set of TensorFlow Datasets with sound.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "Folder to write the dataset to, also in a bucket.", flag_values=FLAGS
)
flags.DEFINE_string(
    "cache",
    None,
    "Folder in which finished tracks are kept, also in a bucket; several outputs may share it. "
    "Default: OUTPUT/.work. Several machines (--runner=beam) must all see it.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "separator",
    None,
    "How to take out vocals: spleeter (its weights: make spleeter-weights), repet (needs no "
    "weights) or none. Default: spleeter if its weights are there, else none.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "separator_weights",
    None,
    "Spleeter's weights as convert --from=spleeter writes them. Default: the environment variable "
    "JUKEJAX_SPLEETER_WEIGHTS, else those of make spleeter-weights.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "metadata",
    None,
    "CSV with the columns file,artist,genre,lyrics; file is the path within --input; several "
    "genres are separated by ';'. Without it the files' own tags are read. Lyrics wait for the "
    "models that sing.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "runner",
    "local",
    ["local", "beam"],
    "Where the work is done: local, this machine; or beam.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "workers",
    0,
    "Processes of --runner=local; 0 means one per core (one in all if Spleeter uses a GPU or TPU).",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "beam_options",
    "",
    "Apache Beam's own flags for --runner=beam, in one string, such as "
    "'--runner=DataflowRunner --region=europe-west4'; Beam's default is this machine.",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "heldout", 0.1, "Share of the tracks, by number, that is never trained on.", flag_values=FLAGS
)
flags.DEFINE_string(
    "tfds_data_dir",
    None,
    "Where TFDS keeps its data; default: its own, ~/tensorflow_datasets.",
    flag_values=FLAGS,
)
flags.DEFINE_float("min_seconds", 5.0, "Shorter tracks are left out.", flag_values=FLAGS)
flags.DEFINE_float("max_seconds", 7200.0, "Longer tracks are left out.", flag_values=FLAGS)
flags.DEFINE_string(
    "fades",
    "cut",
    "What to do with fade-outs of 4 s and more at the end, and with dead air of 2 s and more: cut "
    "them out, drop the track, or keep them. corpus.json names them in any case.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "loudness",
    "none",
    "Loudness in LUFS, such as -14, to which every track is brought by one gain; none: as it is.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("house_tracks", 16, "Tracks to make with --input=house.", flag_values=FLAGS)
flags.DEFINE_float(
    "house_seconds", 45.0, "Length of each track of --input=house, in seconds.", flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "Which music --input=house makes.", flag_values=FLAGS)

SHOWN = 20  # reasons on the screen; corpus.json has all


def _check_flags() -> None:
    for name in ("input", "output"):
        if not FLAGS[name].value:
            raise ValueError(f"--{name} is needed; --help explains the flags")
    if FLAGS.workers < 0:
        raise ValueError(f"--workers={FLAGS.workers} must be 1 or more, or 0 for one per core")
    groups.heldout_mask([], FLAGS.heldout)
    _rules()
    if FLAGS.runner == "beam":
        beam_runner.parse_options(FLAGS.beam_options)
    elif FLAGS.beam_options:
        raise ValueError(f"--beam_options={FLAGS.beam_options} is for --runner=beam")
    for name in ("output", "cache"):
        if FLAGS[name].value:
            places.check(FLAGS[name].value, name)


def _rules() -> rules.Rules:
    loudness = None
    if FLAGS.loudness != "none":
        try:
            loudness = float(FLAGS.loudness)
        except ValueError as error:
            raise ValueError(
                f"--loudness={FLAGS.loudness} must be a number of LUFS, such as -14, or none"
            ) from error
    return rules.Rules(FLAGS.min_seconds, FLAGS.max_seconds, FLAGS.fades, loudness)


@contextlib.contextmanager
def _output_folder() -> Iterator[tuple[Path, str]]:
    """The local folder to write to, held against a second `prepare`, and the cache.

    The folder of an output in a bucket is a temporary one, copied there at the end; nothing holds
    the bucket.
    """
    if FLAGS.cache and not places.is_remote(FLAGS.cache):
        if Path(FLAGS.cache).is_file():
            raise ValueError(f"--cache={FLAGS.cache} is a file; give a folder")
        Path(FLAGS.cache).mkdir(parents=True, exist_ok=True)
    if not places.is_remote(FLAGS.output):
        with files.lock_output(Path(FLAGS.output), "prepare") as cache:
            yield Path(FLAGS.output), FLAGS.cache or str(cache)
        return
    with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
        yield Path(folder), FLAGS.cache or places.join(FLAGS.output, ".work")
        _upload(Path(folder), FLAGS.output)


def _upload(folder: Path, output: str) -> None:
    """Copies a dataset into a bucket, dataset.json last: without it the copy is unfinished."""
    files = sorted(folder.iterdir(), key=lambda path: (path.name == "dataset.json", path.name))
    progress = Progress("copying", len(files))
    for done, path in enumerate(files, start=1):
        places.put(path, places.join(output, path.name))
        progress.update(done, path.name)


def _find_sources(
    cache: str,
) -> tuple[list[tracks.Source], dict[str, metadata.TrackLabels], dict[str, int]]:
    """The sources that --input names, labels that come with them, and files that are not music."""
    kind, _, name = FLAGS.input.partition(":")
    if FLAGS.input == "house":
        return sources.house(FLAGS.house_tracks, FLAGS.house_seconds, FLAGS.seed), {}, {}
    if kind == "tfds":
        found, given = tfds_source.sources(
            name, cache, data_dir=FLAGS.tfds_data_dir, progress=_tfds_progress
        )
        return found, given, {}
    found, ignored = sources.find(FLAGS.input)
    if not found:
        raise ValueError(
            f"no music in {FLAGS.input}: none of its {sum(ignored.values())} files ends in "
            f"{' '.join(sorted(audio.EXTENSIONS))}"
        )
    return found, {}, ignored


@functools.cache
def _tfds(total: int) -> Progress:
    return Progress("reading from TFDS", total)


def _tfds_progress(done: int, total: int) -> None:
    _tfds(total).update(done)


def _make_tracks(found: Sequence[tracks.Source], job: Job) -> list[tracks.Made]:
    if FLAGS.runner == "beam":
        print(f"preparing {len(found)} tracks with Beam {FLAGS.beam_options}".rstrip())
        return beam_runner.make_tracks(found, job, options=FLAGS.beam_options)
    workers = FLAGS.workers
    if job.separator.method == "spleeter" and separation.uses_accelerator():
        workers = 1
    progress = Progress("preparing", len(found))
    return local_runner.make_tracks(found, job, workers=workers, progress=progress.update)


def _write_dataset(
    output: Path,
    usable: Sequence[tuple[tracks.Made, corpus.Track]],
    splits: Sequence[str],
    separator: separation.Separator,
) -> corpus.Dataset:
    """Cached tracks to shards."""
    vocabulary = Vocabulary.build(
        [track.artist for _, track in usable], [g for _, track in usable for g in track.genre]
    )
    info = {"separator": separator.name, "separation": separator.record()}
    progress = Progress("writing", len(usable))
    with DatasetWriter(output, kind="audio", vocabulary=vocabulary, **info) as writer:
        for done, ((made, track), split) in enumerate(zip(usable, splits, strict=True), start=1):
            with places.local_copy(made.array) as path:
                writer.add(split, track, audio=np.load(path, mmap_mode="r"))
            progress.update(done)
    return corpus.open_dataset(output)


def _say(table: dict, dataset: corpus.Dataset, unmatched: list[str]) -> None:
    skipped = [row for row in table["files"] if row["fate"] == "skipped"]
    for split, words in (("train", "to train on"), ("heldout", "held out")):
        tracks_ = dataset.tracks(split)
        length = format_clock(sum(track.samples for track in tracks_) / audio.SAMPLE_RATE)
        size = sum(shard["bytes"] for shard in dataset.info["splits"][split]["shards"]) / 1e6
        print(f"{len(tracks_)} tracks ({length}) {words}, {size:.0f} MB in {FLAGS.output}")
    if not dataset.tracks("heldout"):
        print("nothing is held out: there is one track only, or --heldout=0")
    grouped = [row["group"] for row in table["files"] if "group" in row]
    if shared := len(grouped) - len(set(grouped)):
        print(
            f"{shared} tracks share a recording with another one: each is in the split of that one"
        )
    if sdr := table.get("instrumental_si_sdr"):
        print(
            f"instrumental against the truth: SI-SDR {sdr['before']:.1f} dB before, "
            f"{sdr['after']:.1f} dB after --separator={table['separator']}"
        )
    if unmatched:
        print(f"--metadata names {len(unmatched)} files that are not there, such as {unmatched[0]}")
    if skipped:
        print(f"{len(skipped)} files skipped:")
    for row in skipped[:SHOWN]:
        print(f"  {row['file']}: {row['reason']}")
    if len(skipped) > SHOWN:
        print(f"  and {len(skipped) - SHOWN} more, see {FLAGS.output}/corpus.json")


def _remove_stale(cache: Path, made: Sequence[tracks.Made]) -> None:
    """Removes what no source of this run needs from a cache that is this output's alone."""
    keep = {Path(track.array).stem for track in made if track.array} | {files.LOCK, "sources"}
    if FLAGS.input.startswith("tfds:"):
        keep.add("tfds")
    for path in cache.iterdir():
        if path.stem not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> None:
    _check_flags()
    separator = separation.make_separator(FLAGS.separator, FLAGS.separator_weights)
    given_labels = metadata.read_metadata(FLAGS.metadata) if FLAGS.metadata else {}
    with _output_folder() as (output, cache):
        found, given, ignored = _find_sources(cache)
        made = _make_tracks(found, Job(separator, cache, _rules()))
        made = fates.without_copies(made)
        usable = fates.label_tracks(made, given | given_labels)
        used = [track for track, _ in usable]
        group, links = fates.find_groups(used)
        held = groups.heldout_mask([track.content for track in used], FLAGS.heldout, group)
        splits = [corpus.SPLITS[out] for out in held]
        table = {"separator": separator.name, "separation": separator.record()}
        table |= fates.report(made, used, splits, group, links) | {"ignored": ignored}
        files.write_json(output / "corpus.json", table)
        if not usable:
            raise ValueError(
                f"no readable audio in {FLAGS.input}: {len(made)} files, for instance "
                f"{made[0].name}: {made[0].reason}; the others are in {output / 'corpus.json'}"
            )
        dataset = _write_dataset(output, usable, splits, separator)
        if cache == str(output / ".work"):
            _remove_stale(Path(cache), made)
        names = {metadata.file_key(source.name) for source in found}
        _say(table, dataset, [name for name in given_labels if name not in names])


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
