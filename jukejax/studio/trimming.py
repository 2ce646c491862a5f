"""Trimming of a take: a range of its codes and sounds as a new take, without a model.

The range is widened: it begins with a frame of codes of all levels, so that codes keep their turns
(`ops.turns`), and ends with a whole code of the top level. The sounds are those that were decoded
before, cut at the same samples; the grid says where the first bar begins in them.
"""

import math
from pathlib import Path

import soundfile

from jukejax.common import files
from jukejax.common.json_values import parse_number
from jukejax.data import audio
from jukejax.data.codes_file import read_codes_file
from jukejax.studio.models import ModelInfo
from jukejax.studio.take_files import ITEM, TakeFiles


def trim_take(
    take: TakeFiles, model: ModelInfo | None, start: float, stop: float, output: Path
) -> None:
    """Writes the range of a take from second `start` to `stop` as a new sample folder.

    Args:
      model: of the take, or the shipped one if that is gone; None: neither is there.

    Raises:
      ValueError: the take has no finished level, or the range is empty.
    """
    if not take.levels:
        raise ValueError("this take has no finished level yet; wait for it, or resume its job")
    hops = [int(hop) for hop in take.meta["hops"]]
    top = hops[-1]
    codes = {k: v for k, v in read_codes_file(take.codes).items() if k in take.levels}
    unit = _find_unit(take, model)
    begin = round(start * take.sample_rate) // unit * unit
    last = min(
        math.ceil(stop * take.sample_rate / top), len(codes[max(codes)]) * hops[max(codes)] // top
    )
    if last * top <= begin:
        raise ValueError("the range is empty")
    samples = round(stop * take.sample_rate) - begin
    item = output / ITEM
    item.mkdir(parents=True)
    arrays = {
        f"level_{level}": value[begin // hops[level] : last * top // hops[level]].astype("uint16")
        for level, value in codes.items()
    }
    files.write_arrays(item / "codes.npz", arrays)
    for level in take.levels:
        sound, rate = soundfile.read(
            take.item / f"level_{level}.wav", start=begin, frames=samples, dtype="float32"
        )
        audio.write_wav(item / f"level_{level}.wav", sound, rate)
    prompt = max(float(take.meta.get("prompt_seconds") or 0.0) - begin / take.sample_rate, 0.0)
    changed = {
        "grid": take.grid.shift(begin).describe(),
        "seconds": round((last * top - begin) / take.sample_rate, 6),
        "prompt_seconds": round(prompt, 6),
        "loop": False,
        "closed_levels": [],
        "trimmed": [start, stop],
    }
    files.write_json(item / "meta.json", take.meta | changed)


def _find_unit(take: TakeFiles, model: ModelInfo | None) -> int:
    """Returns the samples at whose multiples a take may begin (`VQVAEConfig.unit`).

    Takes of earlier versions do not record them: they are those of the model.
    """
    top = int(take.meta["hops"][-1])
    unit = parse_number(take.meta.get("unit")) or (top if model is None else model.read_unit())
    return math.lcm(top, max(int(unit), 1))
