"""Converts a folder of music to training shards: decode, remove vocals, label, split.

  python -m jukejax.prepare --input=MUSIC --output=DATA
  python -m jukejax.prepare --input=house --output=DATA          the embedded synthetic corpus
  python -m jukejax.prepare --input=tfds:gtzan --output=DATA     a set of TensorFlow Datasets

Files that cannot be used are skipped, and listed with the reason here and in DATA/corpus.json.
Finished tracks are stored in DATA/.work, or --cache, and reused after a kill, and for a folder with
new files. With --runner=beam many machines share the work (BUILD.md).
"""

from collections.abc import Sequence

from absl import flags

from jukejax import cli
from jukejax.preparation import run, sources
from jukejax.preparation.metadata import COLUMNS
from jukejax.preparation.rules import Rules
from jukejax.preparation.separators import make_separator
from jukejax.preparation.settings import Settings
from jukejax.preparation.shifts import parse_shifts

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
    "Default: OUTPUT/.work. With --runner=beam all machines must have access to it.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "separator",
    None,
    "Method of vocal removal: spleeter (its weights: make spleeter-weights), repet (needs no "
    "weights) or none. Default: spleeter if its weights are found, else none.",
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
    f"CSV with some of the columns {','.join(COLUMNS)}; file is the path within --input; several "
    "genres are separated by ';'; first_beat is in seconds; sections as "
    "in docs/grid.md; lyrics is a text, or the path of a .txt or .lrc file from the folder of the "
    "CSV. Without it lyrics are read from a .lrc or .txt file beside the sound, and "
    "all labels from the files' own tags.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "runner",
    "local",
    ["local", "beam"],
    "Where tracks are prepared: local, this machine; or beam.",
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
    "heldout",
    0.1,
    "Share of the tracks, by number, that is never trained on. Tracks that share a recording stay "
    "together; a recording longer than 4 times the median one, such as a mix, is not held out.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "tfds_data_dir",
    None,
    "Folder of TFDS's data; default: ~/tensorflow_datasets.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "sample_rate",
    44100,
    "Sample rate of the shards in Hz, at most 44100: that of the VQ-VAE to train. Tracks are "
    "resampled after the removal of vocals.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "aug_pitch",
    [],
    "Semitones, such as -2,2: each training track of up to 20 minutes is stored again at each of "
    "these pitches; its key follows. Copies are made anew by every run.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "aug_tempo",
    [],
    "Factors of the tempo, such as 0.96,1.04: the same for tempos; beats a minute, first downbeat "
    "and times of lyrics follow.",
    flag_values=FLAGS,
)
flags.DEFINE_float("min_seconds", 5.0, "Shorter tracks are left out.", flag_values=FLAGS)
flags.DEFINE_float("max_seconds", 7200.0, "Longer tracks are left out.", flag_values=FLAGS)
flags.DEFINE_string(
    "fades",
    "cut",
    "Treatment of fade-outs of 4 s and more at the end, and of dead air of 2 s and more: cut "
    "them, drop the track, or keep them. corpus.json lists them in any case.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "loudness",
    "none",
    "Loudness in LUFS, such as -14, that every track gets by one gain; none: unchanged.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("house_tracks", 16, "Tracks to make with --input=house.", flag_values=FLAGS)
flags.DEFINE_string(
    "house_seconds",
    "45",
    "Length of each track of --input=house in seconds, or SHORTEST:LONGEST, such as 30:60.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "house_bpm",
    None,
    "LOWEST:HIGHEST tempo of --input=house, such as 112:134; default: that of each artist.",
    flag_values=FLAGS,
)
flags.DEFINE_bool("house_vocals", True, "Tracks of --input=house have a singer.", flag_values=FLAGS)
flags.DEFINE_bool(
    "house_instruments",
    True,
    "Tracks of --input=house have instruments; without them the singer sings alone, in every bar.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "house_lyrics",
    False,
    "Tracks of --input=house have lyrics, the syllables of the singer with their times.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", 0, "Seed of the music of --input=house.", flag_values=FLAGS)


def _read_rules() -> Rules:
    loudness = None
    if FLAGS.loudness != "none":
        try:
            loudness = float(FLAGS.loudness)
        except ValueError as error:
            raise ValueError(
                f"--loudness={FLAGS.loudness} must be a number of LUFS, such as -14, or none"
            ) from error
    return Rules(FLAGS.min_seconds, FLAGS.max_seconds, FLAGS.fades, loudness)


def _read_settings() -> Settings:
    for name in ("input", "output"):
        if not FLAGS[name].value:
            raise ValueError(f"--{name} is needed; --help explains the flags")
    return Settings(
        input=FLAGS.input,
        output=FLAGS.output,
        separator=make_separator(FLAGS.separator, FLAGS.separator_weights),
        rules=_read_rules(),
        cache=FLAGS.cache,
        metadata=FLAGS.metadata,
        heldout=FLAGS.heldout,
        sample_rate=FLAGS.sample_rate,
        shifts=parse_shifts(FLAGS.aug_pitch, FLAGS.aug_tempo),
        runner=FLAGS.runner,
        workers=FLAGS.workers,
        beam_options=FLAGS.beam_options,
        tfds_data_dir=FLAGS.tfds_data_dir,
        house_tracks=FLAGS.house_tracks,
        house_seconds=sources.parse_length(FLAGS.house_seconds),
        house_tempo=sources.parse_tempo(FLAGS.house_bpm),
        house_vocals=FLAGS.house_vocals,
        house_instruments=FLAGS.house_instruments,
        house_lyrics=FLAGS.house_lyrics,
        seed=FLAGS.seed,
    )


def main() -> None:
    """Prepares the dataset that the flags describe."""
    settings = _read_settings()
    if FLAGS.separator is None and settings.separator.method == "none":
        print("vocals are kept: Spleeter's weights are not installed; run make spleeter-weights")
    run.prepare_dataset(settings)


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv, copies_buckets=False)


if __name__ == "__main__":
    start()
