"""Turns a folder of music into shards to train on: decode, take out the singer, label, split.

  python -m jukejax.prepare --input=MUSIC --output=DATA --separator=repet
  python -m jukejax.prepare --input=house --output=DATA          the embedded synthetic corpus

Files that cannot be used are named with the reason, here and in DATA/corpus.json; the rest go on.
Work done is kept in DATA/.work: a run that was killed, or one with a few new files, goes on there.
"""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path

import numpy as np
from absl import flags

from jukejax import cli
from jukejax.data import audio, corpus, labels, separate, tracks
from jukejax.progress import Progress, clock

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "input", None, "Folder of music, searched with its subfolders; or 'house', the embedded corpus."
)
flags.DEFINE_string("output", None, "Folder to write the dataset to.")
flags.DEFINE_string(
    "separator", "none", "How to take out vocals: none, or repet (needs no weights)."
)
flags.DEFINE_string(
    "metadata",
    None,
    "CSV with the columns file,artist,genre,lyrics; file is the path within --input; several "
    "genres are separated by ';'. Without it the files' own tags are read. Lyrics wait for the "
    "models that sing.",
)
flags.DEFINE_integer("workers", 0, "Processes to work with; 0 means one per core.")
flags.DEFINE_string("runner", "local", "Where the work is done: local, this machine.")
flags.DEFINE_float("heldout", 0.1, "Share of the tracks, by number, that is never trained on.")
flags.DEFINE_float("min_seconds", 5.0, "Shorter tracks are left out.")
flags.DEFINE_integer("house_tracks", 16, "Tracks to make with --input=house.")
flags.DEFINE_float("house_seconds", 45.0, "Length of each track of --input=house, in seconds.")
flags.DEFINE_integer("seed", 0, "Which music --input=house makes.")

SHOWN = 20  # reasons on the screen; corpus.json has all


def find_sources(folder: str | os.PathLike) -> tuple[list[tracks.Source], dict[str, int]]:
    """All sound files under a folder in alphabetical order, and how many other files by suffix."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"--input={folder} is not a folder; give a folder of music, or 'house'")
    found, ignored = [], Counter()
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(root, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in audio.EXTENSIONS:
                shown = path.relative_to(folder).as_posix()
                shown = shown.encode("utf-8", "backslashreplace").decode()
                found.append(tracks.Source(shown, path=str(path)))
            else:
                ignored[path.suffix.lower() or "(none)"] += 1
    return sorted(found, key=lambda source: source.name), dict(sorted(ignored.items()))


def house_sources(count: int, seconds: float, seed: int) -> list[tracks.Source]:
    """The embedded corpus as sources."""
    if count < 1 or seconds <= 0:
        raise ValueError(
            f"--house_tracks={count} and --house_seconds={seconds} must both be above 0"
        )
    return [
        tracks.Source(f"house_{i:04d}", index=i, seconds=seconds, seed=seed) for i in range(count)
    ]


def _start_worker() -> None:
    """In each worker: Ctrl-C is the parent's to handle, and no worker outlives the parent.

    Decoders write to stderr what they think of a file; the reason that counts is in `Made`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    parent = multiprocessing.parent_process()

    def watch():
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers started in here do their linear algebra on one thread: as fast, and the same bytes
    whatever the number of workers."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def make_tracks(
    sources: Sequence[tracks.Source], *, separator: str, cache: Path, workers: int
) -> list[tracks.Made]:
    """Runs `tracks.make` on every source in worker processes; results in the order of `sources`."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(sources))
    progress = Progress("preparing", len(sources))
    made: dict[str, tracks.Made] = {}
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start_worker
        )
        try:
            futures = [pool.submit(tracks.make, s, separator, str(cache)) for s in sources]
            for done, future in enumerate(as_completed(futures), start=1):
                result = future.result()
                made[result.name] = result
                progress.update(done, result.name if not result.reason else "")
        except BrokenProcessPool as error:
            left = [source.name for source in sources if source.name not in made]
            raise ValueError(
                f"a worker died, most likely out of memory or on one of {', '.join(left[:workers])}"
                "; run again with fewer --workers, or move that file away (what is done is kept)"
            ) from error
        finally:
            if len(made) < len(sources):  # stopped: nobody waits for the tracks at work
                for worker in multiprocessing.active_children():
                    worker.kill()
            pool.shutdown(cancel_futures=True)
    return [made[source.name] for source in sources]


def label_tracks(
    made: Sequence[tracks.Made], metadata: dict[str, labels.Given]
) -> list[tuple[tracks.Made, corpus.Track]]:
    """Usable tracks with their labels: by the CSV, else by the tags, else unknown."""
    usable = []
    for track in made:
        if not track.reason:
            row = metadata.get(labels.file_key(track.name), labels.Given())
            artist = " ".join((row.artist or track.artist).split()) or labels.UNKNOWN
            genre = labels.split_genres(row.genre or track.genre)
            facts = {key: getattr(track, key) for key in ("content", "bpm", "key", "channels")}
            usable.append((track, corpus.Track(track.name, artist, genre, track.samples, **facts)))
    return usable


def reject(made: Sequence[tracks.Made], min_seconds: float) -> list[tracks.Made]:
    """Gives a reason to tracks that are too short or that we have already."""
    first: dict[str, str] = {}
    result = []
    for track in made:
        reason, seconds = track.reason, track.samples / audio.SAMPLE_RATE
        if not reason and seconds < min_seconds:
            reason = f"{seconds:.1f} s long, and --min_seconds={min_seconds:g}"
        if not reason and first.setdefault(track.content, track.name) != track.name:
            reason = f"the same file as {first[track.content]}"
        result.append(tracks.Made(**vars(track) | {"reason": reason}))
    return result


def write_dataset(
    output: Path, usable: Sequence[tuple[tracks.Made, corpus.Track]], *, separator: str, held: list
) -> corpus.Dataset:
    """Cached tracks to shards."""
    vocabulary = labels.Vocabulary.build(
        [track.artist for _, track in usable], [g for _, track in usable for g in track.genre]
    )
    progress = Progress("writing", len(usable))
    with corpus.DatasetWriter(
        output, kind="audio", vocabulary=vocabulary, separator=separator
    ) as writer:
        for done, ((made, track), out) in enumerate(zip(usable, held, strict=True), start=1):
            writer.add(corpus.SPLITS[out], track, audio=np.load(made.array, mmap_mode="r"))
            progress.update(done)
    return corpus.open_dataset(output)


def report(
    made: Sequence[tracks.Made], fates: dict[str, str], *, separator: str, ignored: dict[str, int]
) -> dict:
    """corpus.json: what became of every file, and why."""
    files = []
    for track in made:
        row = {"file": track.name, "fate": fates.get(track.name, "skipped"), "reason": track.reason}
        if track.samples:
            row["seconds"] = round(track.samples / audio.SAMPLE_RATE, 3)
            row |= {"channels": track.channels, "notes": track.notes}
        if track.sdr:
            row["instrumental_si_sdr"] = track.sdr
        files.append(row)
    table = {"separator": separator, "files": files, "ignored": ignored}
    sdr = [track.sdr for track in made if track.sdr]
    if sdr:
        table["instrumental_si_sdr"] = {
            when: round(float(np.mean([row[when] for row in sdr])), 3) for when in sdr[0]
        }
    return table


def _say(table: dict, dataset: corpus.Dataset, unmatched: list[str]) -> None:
    skipped = [row for row in table["files"] if row["fate"] == "skipped"]
    for split, words in (("train", "to train on"), ("heldout", "held out")):
        tracks_ = dataset.tracks(split)
        length = clock(sum(track.samples for track in tracks_) / audio.SAMPLE_RATE)
        size = sum(shard["bytes"] for shard in dataset.info["splits"][split]["shards"]) / 1e6
        print(f"{len(tracks_)} tracks ({length}) {words}, {size:.0f} MB in {dataset.folder}")
    if not dataset.tracks("heldout"):
        print("nothing is held out: there is one track only, or --heldout=0")
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
        print(f"  and {len(skipped) - SHOWN} more, see {dataset.folder / 'corpus.json'}")


@contextlib.contextmanager
def _only_one(output: Path) -> Iterator[Path]:
    """Makes the folders and holds them against a second `prepare`; gives the cache folder."""
    cache = output / ".work"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another prepare is writing to {output}; wait for it") from error
        try:
            yield cache
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ValueError(
                    f"the disk of {output} is full; make room and run again: what is done is kept"
                ) from error
            raise


def _check_flags() -> None:
    for name in ("input", "output"):
        if not FLAGS[name].value:
            raise ValueError(f"--{name} is needed; --help explains the flags")
    if FLAGS.input.startswith("tfds:"):
        raise ValueError(f"--input={FLAGS.input}: TFDS is not a source yet; give a folder or house")
    if FLAGS.separator not in separate.METHODS:
        known = " and ".join(separate.METHODS)
        raise ValueError(f"--separator={FLAGS.separator} is not built; there are {known}")
    if FLAGS.runner != "local":
        raise ValueError(f"--runner={FLAGS.runner} is not built; there is local")
    if FLAGS.workers < 0:
        raise ValueError(f"--workers={FLAGS.workers} must be 1 or more, or 0 for one per core")
    if FLAGS.min_seconds < 0.1:
        raise ValueError(f"--min_seconds={FLAGS.min_seconds} must be at least 0.1")
    corpus.heldout_mask([], FLAGS.heldout)


def main() -> None:
    _check_flags()
    output = Path(FLAGS.output)
    metadata = labels.read_metadata(FLAGS.metadata) if FLAGS.metadata else {}
    if FLAGS.input == "house":
        sources = house_sources(FLAGS.house_tracks, FLAGS.house_seconds, FLAGS.seed)
        ignored = {}
    else:
        sources, ignored = find_sources(FLAGS.input)
    if not sources:
        raise ValueError(
            f"no music in {FLAGS.input}: none of its {sum(ignored.values())} files ends in "
            f"{' '.join(sorted(audio.EXTENSIONS))}"
        )
    with _only_one(output) as cache:
        made = make_tracks(sources, separator=FLAGS.separator, cache=cache, workers=FLAGS.workers)
        made = reject(made, FLAGS.min_seconds)
        usable = label_tracks(made, metadata)
        held = corpus.heldout_mask([track.content for _, track in usable], FLAGS.heldout)
        fates = {
            track.name: corpus.SPLITS[out] for (_, track), out in zip(usable, held, strict=True)
        }
        table = report(made, fates, separator=FLAGS.separator, ignored=ignored)
        text = json.dumps(table, indent=1) + "\n"
        audio.write_atomic(output / "corpus.json", text.encode())
        if not usable:
            raise ValueError(
                f"no readable audio in {FLAGS.input}: {len(made)} files, for instance "
                f"{made[0].name}: {made[0].reason}; the others are in {output / 'corpus.json'}"
            )
        dataset = write_dataset(output, usable, separator=FLAGS.separator, held=held)
        keep = {Path(track.array).stem for track in made if track.array} | {"lock"}
        for path in cache.iterdir():
            if path.stem not in keep:
                path.unlink()
    names = {labels.file_key(source.name) for source in sources}
    _say(table, dataset, [name for name in metadata if name not in names])


if __name__ == "__main__":
    cli.run(main, __doc__)
