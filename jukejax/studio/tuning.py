"""Preparation of corpora, and tuning of a model on them, by the commands of launch/tune.sh."""

from collections.abc import Sequence
from pathlib import Path

from jukejax.common import files
from jukejax.data.dataset_file import read_dataset_file
from jukejax.data.epochs import count_windows
from jukejax.pages.runs import TrainingRun
from jukejax.studio.models import ModelInfo
from jukejax.studio.names import check_number, clean_name
from jukejax.studio.project import Project
from jukejax.studio.queue import JobQueue
from jukejax.studio.recordings import MAX_FILES, check_recording, clean_file_name, copy_file
from jukejax.studio.state import Entry

CONFIG = files.find_configs_folder() / "house_small.py"
MAX_STEPS = 2000
BATCH_SIZE = 2  # of CONFIG
MAX_LOST_STEPS = 20  # of a server that is killed: steps between two checkpoints
PREVIEW_STEPS = 100  # at most, between two previews
MAX_HOUSE_TRACKS, MAX_HOUSE_SECONDS = 64, 90


def prepare_recordings(
    project: Project, queue: JobQueue, sent: Sequence[Path], name: object, model: ModelInfo
) -> str:
    """Copies records into a new corpus, and queues its preparation; returns its identifier.

    Raises:
      ValueError: a file cannot be used; nothing is kept then.
    """
    title = clean_name(name, "the name of the corpus")
    if not 1 <= len(sent) <= MAX_FILES:
        raise ValueError(f"{len(sent)} files were sent; a corpus takes 1 to {MAX_FILES}")
    for path in sent:
        check_recording(path, clean_file_name(path))

    def make(identifier: str) -> Entry:
        music = project.corpus_folder(identifier) / "music"
        for number, path in enumerate(sent, start=1):
            copy_file(path, music / f"{number:03d}{path.suffix.lower()}")
        return Entry(name=title)

    corpus = project.add_entry("c", make)
    music = project.corpus_folder(corpus) / "music"
    _queue_preparation(project, queue, corpus, [f"--input={music}", "--separator=none"], model)
    return corpus


def prepare_house(
    project: Project, queue: JobQueue, tracks: object, seconds: object, model: ModelInfo
) -> str:
    """Queues the preparation of the embedded synthetic corpus; returns its identifier."""
    count = check_number(tracks, "the number of tracks", 2, MAX_HOUSE_TRACKS, is_whole=True)
    length = check_number(seconds, "the length of a track", 6, MAX_HOUSE_SECONDS)
    name = f"synthetic house, {count:g} tracks of {length:g} s"
    corpus = project.add_entry("c", lambda identifier: Entry(name=name))
    arguments = ["--input=house", f"--house_tracks={int(count)}", f"--house_seconds={length:g}"]
    _queue_preparation(project, queue, corpus, [*arguments, "--separator=none"], model)
    return corpus


def _queue_preparation(
    project: Project, queue: JobQueue, corpus: str, arguments: Sequence[str], model: ModelInfo
) -> None:
    folder = project.corpus_folder(corpus)
    audio, codes = folder / "audio", folder / "codes"
    steps = [
        ("prepare", [*arguments, f"--output={audio}"], f"prepare {corpus}"),
        (
            "encode",
            [f"--vqvae={model.folder}", f"--input={audio}", f"--output={codes}"],
            f"encode {corpus}",
        ),
    ]
    queue.add_chain(steps, project=project.folder.name, subject=corpus)


def tune_model(
    project: Project, queue: JobQueue, corpus: object, name: object, steps: object, model: ModelInfo
) -> str:
    """Queues the tuning of the top prior of a model; returns the identifier of the new model.

    Raises:
      ValueError: a value is out of range, or the corpus is not prepared yet.
    """
    source, _ = project.read().find_entry(corpus, "c")
    codes = project.corpus_folder(source) / "codes"
    if not (codes / "dataset.json").is_file():
        raise ValueError(f"corpus {source} is not prepared yet; wait for its jobs in the queue")
    if not CONFIG.is_file():
        raise ValueError(f"{CONFIG} is missing; tuning needs the configs of a checkout")
    count = int(check_number(steps, "the number of steps", 1, MAX_STEPS, is_whole=True))
    title = clean_name(name, "the name of the model")
    tuned = project.add_entry("m", lambda identifier: Entry(name=title, source=source))
    folder = project.model_folder(tuned)
    folder.mkdir(parents=True, exist_ok=True)
    train = [f"--config={CONFIG}:tune", f"--workdir={folder / 'prior'}"]
    train += [f"--config.data.folder={codes}", f"--config.init_from={model.folder}"]
    train += [f"--config.steps={count}", f"--config.log_every={max(count // 20, 1)}"]
    train += [f"--config.data.batch_size={find_batch_size(codes, model)}"]
    train += [f"--config.checkpoint_every={min(-(-count // 10), MAX_LOST_STEPS)}"]
    every = min(-(-count // 3), PREVIEW_STEPS)
    train += [f"--config.vqvae={model.folder}", f"--config.sample_every={every}"]
    export = [f"--workdir={model.folder},{folder / 'prior'}", f"--output={folder / 'bundle'}"]
    queue.add_chain(
        [("train", train, f"tune {tuned} on {source}"), ("export", export, f"export {tuned}")],
        project=project.folder.name,
        subject=tuned,
    )
    return tuned


def find_batch_size(codes: Path, model: ModelInfo) -> int:
    """Returns the number of windows of a training step: fewer where few are held out.

    Args:
      codes: shards of `encode`.
    """
    prior = files.read_json(Path(model.folder) / f"level_{model.levels[0]}" / "config.json")
    window = prior["config"]["transformer"]["seq_len"] * model.hops[-1]
    _, table = read_dataset_file(codes / "dataset.json")
    windows = count_windows(table.splits["heldout"].tracks, window)
    return min(max(windows, 1), BATCH_SIZE)


def read_curves(project: Project, model: str) -> dict[str, tuple[list[float], list[float]]]:
    """Returns the steps and the bits a code of a tuning so far, by split."""
    run = TrainingRun.read(project.model_folder(model) / "prior")
    curves = {}
    for split in ("train", "heldout"):
        steps, values = run.select_series("bits_per_code", split)
        if steps:
            curves[split] = (steps, values)
    return curves
