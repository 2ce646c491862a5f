"""Makes a video of a track: spectrogram, codes, and shapes that move with the music.

    python -m jukejax.video --input=out --output=take.mp4
    python -m jukejax.video --input=out/item_003 --form=upright --image=photos --output=take.mp4
    python -m jukejax.video --input=song.flac --model=house --output=song.mp4

The input is a folder that sample wrote, one of its items, or a sound file. The beats flash on the
grid of the track, which meta.json has; that of a sound file is estimated. Codes of a sound file are
drawn if --model encodes it. The file holds H.264 video and AAC sound and plays while it loads. The
same command writes the same file. docs/video.md has more.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jukejax import cli
from jukejax.data.audio import SAMPLE_RATE
from jukejax.data.grid import Grid, check_bpm
from jukejax.filming.layout import FORMS, find_size
from jukejax.weights.shipped import define_model_flag

FPS = (5, 120)

FLAGS = flags.FlagValues()

INPUT = flags.DEFINE_string(
    "input",
    None,
    "Folder that sample wrote, one of its items (item_000), or a sound file.",
    flag_values=FLAGS,
)
OUTPUT = flags.DEFINE_string("output", None, "The video, FILE.mp4.", flag_values=FLAGS)
ITEM = flags.DEFINE_integer(
    "item", None, "Number of the item of a sample folder; default: the first.", flag_values=FLAGS
)
FORM = flags.DEFINE_enum(
    "form",
    "wide",
    list(FORMS),
    "Form of the picture: " + ", ".join("{} {}x{}".format(n, *f.size) for n, f in FORMS.items()),
    flag_values=FLAGS,
)
HEIGHT = flags.DEFINE_integer(
    "height",
    None,
    "Height of the picture in pixels, even; its width follows from the form.",
    flag_values=FLAGS,
)
RATE = flags.DEFINE_integer("fps", 30, "Frames a second.", flag_values=FLAGS)
IMAGE = flags.DEFINE_string(
    "image",
    None,
    "An image, or a folder of images, that move with the music behind the shape.",
    flag_values=FLAGS,
)
IMAGE_BARS = flags.DEFINE_integer(
    "image_bars", 2, "Bars for which an image is shown.", flag_values=FLAGS
)
TRANSITION = flags.DEFINE_enum(
    "transition",
    "fade",
    ["fade", "cut"],
    "Change of images on a bar: a cross-fade of one beat, or a cut.",
    flag_values=FLAGS,
)
TITLE = flags.DEFINE_string(
    "title", None, "Title; default: the artist label or the tags of the file.", flag_values=FLAGS
)
FONT = flags.DEFINE_string(
    "font",
    None,
    "TrueType or OpenType file for scripts that the usual font (DejaVu Sans) lacks.",
    flag_values=FLAGS,
)
BPM = flags.DEFINE_float(
    "bpm", None, "Beats a minute; default: of the item, else estimated.", flag_values=FLAGS
)
FIRST_BEAT = flags.DEFINE_float(
    "first_beat",
    None,
    "Start of a bar in seconds; default: of the item, with --bpm 0, else estimated.",
    flag_values=FLAGS,
)
MODEL = define_model_flag(
    "model", "Bundle whose VQ-VAE encodes a sound file, so that its codes are drawn.", FLAGS
)


def check_flags() -> tuple[str, Path]:
    """Checks that flags are complete, in range and fit each other; returns input and output."""
    if INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--input and --output are needed; see --help")
    output = Path(OUTPUT.value)
    if output.suffix.lower() != ".mp4":
        raise ValueError(f"--output={output} must be a file name that ends in .mp4")
    if output.is_dir():
        raise ValueError(f"--output={output} is a folder; give the name of a file in it")
    if Path(INPUT.value).exists() and output.exists() and output.samefile(INPUT.value):
        raise ValueError(f"--output={output} is the input; give another name")
    if not FPS[0] <= RATE.value <= FPS[1]:
        raise ValueError(f"--fps={RATE.value} must be {FPS[0]} to {FPS[1]} frames a second")
    if IMAGE_BARS.value < 1:
        raise ValueError(f"--image_bars={IMAGE_BARS.value} must be 1 or more")
    if BPM.value is not None:
        check_bpm(BPM.value, "--bpm")
    if FIRST_BEAT.value is not None and BPM.value is None:
        raise ValueError(f"--first_beat={FIRST_BEAT.value:g} needs --bpm")
    return INPUT.value, output


def main() -> int:
    """Makes the video and prints its size."""
    input_path, output = check_flags()
    size = find_size(FORM.value, HEIGHT.value)
    from jukejax.filming.composition import ImageOptions
    from jukejax.filming.images import find_images
    from jukejax.filming.run import VideoOptions, make_video
    from jukejax.filming.takes import open_take

    images = None
    if IMAGE.value is not None:
        images = ImageOptions(
            find_images(IMAGE.value), IMAGE_BARS.value, fades=TRANSITION.value == "fade"
        )
    downbeat = None if FIRST_BEAT.value is None else FIRST_BEAT.value * SAMPLE_RATE
    output.parent.mkdir(parents=True, exist_ok=True)
    options = VideoOptions(
        output,
        FORM.value,
        size,
        fps=RATE.value,
        title=TITLE.value,
        font=FONT.value,
        grid=Grid(BPM.value, downbeat),
        model=MODEL.value,
        images=images,
    )
    frames = make_video(open_take(input_path, ITEM.value), options)
    print(
        f"{frames} frames of {size[0]}x{size[1]}, {frames / RATE.value:.1f} s, "
        f"{output.stat().st_size / 1e6:.1f} MB: {output}"
    )
    return 0


def start(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    cli.run(main, __doc__ or "", FLAGS, argv)


if __name__ == "__main__":
    start()
