"""The flags of `sample` for files that other programs take; see `takes`."""

from typing import TYPE_CHECKING, Any

from absl import flags

from jukejax.data.sound_files import BITS, FORMATS, FileFormat

if TYPE_CHECKING:
    from jukejax.sampling.takes import TakeSettings

NAMES = ("format", "bits", "lufs", "stems", "click", "midi")


def define_take_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `NAMES`."""
    flags.DEFINE_enum(
        "format",
        "wav",
        FORMATS,
        "Format of the takes. With this flag, or one of --bits, --lufs, --stems, --click and "
        "--midi, every finished track is also written to --output as a file with tags, such as "
        "take_000_124bpm_Am_seed0.flac; for a finished folder only this is done.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "bits",
        "16",
        [str(bits) for bits in BITS],
        "Bits of a sample of a take, in wav and flac.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "lufs",
        None,
        "Loudness of the takes, such as -14; less where the true peak would exceed -1 dBTP. "
        "Default: as the model plays.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "stems",
        False,
        "Write the vocals and the accompaniment of each take too; needs `make spleeter-weights`.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "click",
        False,
        "Write a click track of each take, accented at the bars; needs a tempo.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "midi",
        False,
        "Write a MIDI file of each take with its tempo and a marker for each bar; needs a tempo.",
        flag_values=values,
    )


def read_take_settings(values: flags.FlagValues) -> "TakeSettings | None":
    """Returns the settings of the flags; None without any of them.

    Raises:
      ValueError: the flags do not fit each other.
    """
    if not any(values[name].present for name in NAMES):
        return None
    from jukejax.sampling.takes import TakeSettings

    settings: dict[str, Any] = {name: values[name].value for name in NAMES}
    file_format = FileFormat(settings.pop("format"), int(settings.pop("bits")))
    return TakeSettings(file_format, **settings)
