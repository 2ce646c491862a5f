"""Finds when the words of lyrics are sung, by the attention of a model with lyrics.

    python -m jukejax.align --model=models/1b_lyrics --input=out/tracks
    python -m jukejax.align --model=models/mine --input=song.flac --lyrics_file=song.txt \\
        --output=words
    python -m jukejax.align --model=models/mine --input=data/codes --output=words

The input is a sample folder, whose page then shows the lyrics; sounds with lyrics beside them (.lrc
or .txt) or in their tags; or code shards with lyrics. Each song gets alignment.json and
alignment.lrc with the times of its words, and a picture of the attention. The layer and the head
whose attention is used are those that the model's config names. Else they are the ones that attend
to letters in their order: in the held-out tracks of --heldout, code shards with lyrics, or in the
input. docs/lyrics.md has more.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.common.formatting import format_count
from jukejax.runtime.dtype_flag import define_dtype_flag
from jukejax.weights.shipped import define_model_flag

FLAGS = flags.FlagValues()

MODEL = define_model_flag("model", "Model bundle, made by export or convert, with lyrics.", FLAGS)
INPUT = flags.DEFINE_string(
    "input",
    None,
    "Sample folder, sound file, folder of sound files, or code shards.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder for the results; default: the input, if it is a sample folder.",
    flag_values=FLAGS,
)
LYRICS_FILE = flags.DEFINE_string(
    "lyrics_file", None, "Text or .lrc file with the lyrics of one sound file.", flag_values=FLAGS
)
ARTIST = flags.DEFINE_string(
    "artist", None, "Artist label of sound files; default: unknown.", flag_values=FLAGS
)
GENRE = flags.DEFINE_string(
    "genre", None, "Genre label of sound files; default: unknown.", flag_values=FLAGS
)
LAYER = flags.DEFINE_integer(
    "layer", None, "Layer of the attention, from 0; default: see above.", flag_values=FLAGS
)
HEAD = flags.DEFINE_integer(
    "head", None, "Head of that layer, from 0; default: see above.", flag_values=FLAGS
)
HELDOUT = flags.DEFINE_string(
    "heldout", None, "Code shards on whose held-out tracks the head is found.", flag_values=FLAGS
)
WINDOWS = flags.DEFINE_integer(
    "windows", 32, "Largest number of windows on which the head is found.", flag_values=FLAGS
)
HOP_FRACTION = flags.DEFINE_float(
    "hop_fraction", 0.5, "Share of a window that is new in the next one.", flag_values=FLAGS
)
SPLIT = flags.DEFINE_enum(
    "split", "heldout", ["heldout", "train"], "Which tracks of code shards.", flag_values=FLAGS
)
SONGS = flags.DEFINE_integer(
    "songs", 0, "Largest number of songs; 0: all of the input.", flag_values=FLAGS
)
DTYPE = define_dtype_flag(FLAGS)


def check_flags() -> tuple[str, Path, Path]:
    """Checks that flags are complete and in range; returns the model, the input and the output."""
    if MODEL.value is None or INPUT.value is None:
        raise ValueError("--model and --input are needed; see --help")
    if not 0 < HOP_FRACTION.value <= 1:
        raise ValueError(f"--hop_fraction={HOP_FRACTION.value} must be above 0 and at most 1")
    if WINDOWS.value < 1 or SONGS.value < 0:
        raise ValueError(
            f"--windows={WINDOWS.value} must be 1 or more, --songs={SONGS.value} 0 or more"
        )
    if (LAYER.value is None) != (HEAD.value is None):
        raise ValueError("--layer and --head need each other")
    path = Path(INPUT.value)
    if OUTPUT.value is not None:
        return MODEL.value, path, Path(OUTPUT.value)
    if not any(path.glob("item_*/meta.json")):
        raise ValueError(f"--output is needed: --input={path} is no sample folder")
    return MODEL.value, path, path


def main() -> int:
    """Aligns the songs and prints the head and, where times are known, the errors."""
    folder, path, output = check_flags()
    from jukejax.inference.loaded_model import Model
    from jukejax.pages import report
    from jukejax.sampling.lyric_alignment import Aligner, describe_errors
    from jukejax.sampling.songs import open_songs

    model = Model(folder, DTYPE.value)
    aligner = Aligner(model)
    songs = list(
        open_songs(
            model,
            aligner.level,
            path,
            lyrics_file=LYRICS_FILE.value,
            artist=ARTIST.value,
            genre=GENRE.value,
            split=SPLIT.value,
        )
    )[: SONGS.value or None]
    if aligner.name_head(LAYER.value, HEAD.value):
        print(f"attention of layer {aligner.head.layer}, head {aligner.head.head}")
    else:
        if HELDOUT.value is not None:
            windows = aligner.open_heldout_windows(Path(HELDOUT.value), WINDOWS.value)
        else:
            windows = aligner.open_song_windows(songs, WINDOWS.value)
        for head in aligner.find_head(windows)[:3]:
            print(f"layer {head.layer}, head {head.head}: monotonicity {head.monotonicity:.3f}")
    results = [aligner.align(song, output, hop_fraction=HOP_FRACTION.value) for song in songs]
    if path == output:
        page = report.write_sample_page(output)
    else:
        page = report.write_alignment_page(output)
    if line := describe_errors(results):
        print(line)
    print(f"{format_count(len(songs), 'song')}: {page}")
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
