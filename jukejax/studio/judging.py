"""Reads what is known of a take: figures of `evaluate`, its key, and the verdict of `audit`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from jukejax.common import files
from jukejax.common.json_values import parse_number
from jukejax.studio.project import Project
from jukejax.studio.queue import Step
from jukejax.studio.take_files import TakeFiles

FIGURES = (  # name in evaluate.json, title, unit, format
    ("tempo_bpm", "tempo", "BPM", ".2f"),
    ("tempo_drift_percent", "largest drift of the tempo", "%", ".2f"),
    ("beat_spread_percent", "spread of the beats", "%", ".2f"),
    ("pulse", "pulse, -1 to 1", "", ".2f"),
    ("four_on_the_floor", "four on the floor, 0 to 1", "", ".2f"),
    ("loudness_lufs", "loudness", "LUFS", ".1f"),
    ("true_peak_db", "true peak", "dB", ".1f"),
)


@dataclass(frozen=True)
class Verdict:
    """The verdict of the audit of a take.

    Attributes:
      word: novel, similar or copied.
      track: of the corpus, the most alike one; "" for none.
      passages: each as one line.
    """

    word: str
    track: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """Holds what is known of a take.

    Attributes:
      figures: (title, value) of those that were measured.
      is_outdated: the take has changed since.
    """

    figures: tuple[tuple[str, str], ...] = ()
    verdict: Verdict | None = None
    has_page: bool = False
    has_report: bool = False
    is_outdated: bool = False


def list_judging_steps(
    project: Project, take: str, sample_folder: Path, corpora: Sequence[str], model: str
) -> list[Step]:
    """Returns the commands that judge a take.

    Args:
      corpora: folders of `prepare`, or of `encode`; none: no audit.
      model: folder of the model whose VQ-VAE made the code shards.
    """
    output = project.judged_folder(take)
    steps: list[Step] = [
        (
            "evaluate",
            [f"--input={sample_folder}", f"--output={output / 'evaluation'}"],
            f"measure {take}",
        )
    ]
    if corpora:
        arguments = [f"--input={sample_folder}", f"--training={','.join(corpora)}"]
        arguments += [f"--vqvae={model}", f"--output={output / 'audit'}"]
        steps.append(("audit", arguments, f"search the corpus for {take}"))
    return steps


def read_judgement(folder: Path, take: TakeFiles) -> Judgement:
    """Reads what `evaluate` and `audit` wrote about a take, and its key.

    Args:
      folder: `Project.judged_folder`.
    """
    table = files.read_json_if_any(folder / "evaluation" / "evaluate.json")
    figures: list[tuple[str, str]] = []
    try:
        measured = table["tracks"]["input"][0]
        for name, title, unit, form in FIGURES:
            value = parse_number(measured.get(name))
            if value is not None:
                figures.append((title, f"{value:{form}} {unit}".strip()))
    except (KeyError, IndexError, TypeError, AttributeError):
        pass
    key = files.read_json_if_any(folder / "key.json").get("text")
    if figures and key:
        figures.insert(1, ("key", str(key)))
    report = folder / "evaluation" / "evaluate.json"
    is_outdated = bool(
        take.sound and report.is_file() and take.sound.stat().st_mtime > report.stat().st_mtime
    )
    return Judgement(
        tuple(figures),
        read_verdict(folder),
        (folder / "evaluation" / "index.html").is_file(),
        (folder / "audit" / "report.html").is_file(),
        is_outdated,
    )


def read_verdict(folder: Path) -> Verdict | None:
    """Reads the verdict of an audit; None without one."""
    table = files.read_json_if_any(folder / "audit" / "audit.json")
    try:
        item = table["items"][0]
        passages = sorted(item["passages"], key=lambda passage: -passage["reach"])
        lines = tuple(
            f"{passage['start']:g} to {passage['end']:g} s: {passage['track']}"
            for passage in passages[:5]
        )
        return Verdict(str(item["verdict"]), str(passages[0]["track"]) if passages else "", lines)
    except (KeyError, IndexError, TypeError):
        return None


def measure_key(project: Project, take: str, files_of_take: TakeFiles) -> None:
    """Estimates the key of a take and writes it beside its evaluation."""
    if files_of_take.sound is None:
        return
    from jukejax.analysis.musical_key import estimate_key

    sound, rate = soundfile.read(files_of_take.sound, dtype="float32", always_2d=True)
    key, confidence = estimate_key(sound.mean(axis=1), rate)
    text = "none is heard" if key is None else f"{key} (confidence {confidence:.2f})"
    folder = project.judged_folder(take)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "key.json", {"text": text})
