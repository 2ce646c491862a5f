"""Comparison of a run's milestones: exports, samples, audits and measures each of some steps.

OUTPUT/step_33000/new/item_000 ...      tracks without a prompt, as `sample` writes them
OUTPUT/step_33000/prompt_0/item_000     continuations of the first prompt

A run that was killed is continued by the same command.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.analysis import rhythm
from jukejax.auditing.auditor import Auditor
from jukejax.auditing.pieces import Sound, find_sounds
from jukejax.auditing.run import AuditOptions, audit_once, open_auditor
from jukejax.common import output_locks
from jukejax.data import audio
from jukejax.inference.loaded_model import Model
from jukejax.pages.milestones import Milestone, MilestoneTrack, write_milestone_page
from jukejax.pages.runs import TrainingRun
from jukejax.sampling.request import Request
from jukejax.sampling.run import sample_tracks
from jukejax.weights import checkpoints
from jukejax.weights.export_options import ExportOptions
from jukejax.weights.exporting import export_model
from jukejax.weights.recommended_settings import DEFAULTS


@dataclass(frozen=True)
class MilestoneOptions:
    """Options of a comparison.

    Attributes:
      run: workdir of the prior whose milestones are compared.
      parts: workdirs and bundles of the VQ-VAE, first, and of further priors, whose latest weights
        are used.
      output: folder of the page.
      steps: to compare; (): all of which the run keeps a checkpoint.
      audio, codes: shards of the training music, for the audit; None: without.
      num_samples: tracks without a prompt, and of each prompt.
      seed: of all tracks.
      prompts: sound files to continue.
      prompt_seconds: used of each prompt.
      seconds: length of each track.
      artist, genre: of each track; None: unknown.
    """

    run: str
    parts: Sequence[str]
    output: Path
    steps: tuple[int, ...] = ()
    audio: str | None = None
    codes: str | None = None
    num_samples: int = 2
    seed: int = 0
    prompts: Sequence[str] = ()
    prompt_seconds: float = 4.0
    seconds: float = 12.0
    artist: str | None = None
    genre: str | None = None

    def make_request(self, levels: Sequence[int], prompt: str | None) -> Request:
        """Returns the request for the tracks without a prompt (None), or of one."""
        return Request(
            mode="primed" if prompt else "ancestral",
            levels=tuple(levels),
            seconds=self.seconds,
            items=range(self.num_samples),
            seed=self.seed,
            artist=self.artist,
            genre=self.genre,
            prompt=prompt,
            prompt_seconds=self.prompt_seconds if prompt else None,
            temperature=dict.fromkeys(levels, DEFAULTS["temperature"]),
            hop_fraction=dict.fromkeys(levels, DEFAULTS["hop_fraction"]),
            guidance=dict.fromkeys(levels, DEFAULTS["guidance"]),
        )

    def list_settings(self, model: Model, prompt: str | None) -> dict:
        """Returns all settings that affect the tracks."""
        settings = {"model": model.hash, "seed": self.seed, "num_samples": self.num_samples}
        settings |= {"seconds": self.seconds, "artist": self.artist, "genre": self.genre}
        return settings | (
            {"prompt": prompt, "prompt_seconds": self.prompt_seconds} if prompt else {}
        )


def compare_milestones(options: MilestoneOptions) -> tuple[Path, list[tuple[str, str]]]:
    """Samples and measures the milestones of a run, and writes their page.

    Returns:
      The path of the page, and the key figures as (name, value).

    Raises:
      ValueError: the run does not keep one of the steps, the parts do not belong to it, or another
        process writes to the output.
    """
    steps = _list_steps(options)
    for prompt in options.prompts:
        if not Path(prompt).is_file():
            raise ValueError(f"--prompts: {prompt} is no file")
    auditor = None
    if training := [folder for folder in (options.audio, options.codes) if folder]:
        vqvae = options.parts[0] if options.codes else None
        auditor = open_auditor(AuditOptions("", training, options.output, vqvae))
    milestones = []
    with output_locks.lock_output(options.output, "report") as work:
        parts = _merge_parts(options, work)
        for saved in steps:
            _sample_milestone(options, saved.step, parts, work)
            tracks = _measure_tracks(options, saved.step, auditor, work)
            milestones.append(_describe_milestone(options.run, saved, tracks))
        result = write_milestone_page(options.output, Path(options.run).name, milestones)
        for folder in (work / "parts", work / "model"):
            shutil.rmtree(folder, ignore_errors=True)
        output_locks.clear_work(work)
    return result


def _list_steps(options: MilestoneOptions) -> list[checkpoints.SavedStep]:
    """Lists the checkpoints to compare, the earliest first."""
    if not options.steps:
        return checkpoints.list_steps(options.run)[::-1]
    return [checkpoints.find_step(options.run, step) for step in sorted(set(options.steps))]


def _merge_parts(options: MilestoneOptions, work: Path) -> Sequence[str]:
    """Merges parts that are not a single workdir or bundle: a step is that of `run` alone."""
    if len(options.parts) < 2:
        return options.parts
    export_model(ExportOptions(inputs=options.parts, output=work / "parts"))
    return [str(work / "parts")]


def _sample_milestone(
    options: MilestoneOptions, step: int, parts: Sequence[str], work: Path
) -> None:
    """Samples the tracks of a milestone, or the rest of them."""
    folder = work / "model"
    inputs = [options.run, *parts]
    export_model(ExportOptions(inputs=inputs, output=folder, checkpoint=str(step)))
    model = Model(folder)
    levels = sorted(model.levels, reverse=True)
    for name, prompt in _name_prompts(options).items():
        sample_tracks(
            model,
            options.make_request(levels, prompt),
            options.output / f"step_{step}" / name,
            options.list_settings(model, prompt),
            time.monotonic(),
        )


def _name_prompts(options: MilestoneOptions) -> dict[str, str | None]:
    """Returns the prompts by the names of their folders; None: without a prompt."""
    prompts: dict[str, str | None] = {"new": None}
    return prompts | {f"prompt_{number}": path for number, path in enumerate(options.prompts)}


def _measure_tracks(
    options: MilestoneOptions, step: int, auditor: Auditor | None, work: Path
) -> tuple[MilestoneTrack, ...]:
    """Measures the rhythm of the tracks of a milestone, and audits them."""
    tracks = []
    for name, prompt in _name_prompts(options).items():
        title = f"after {Path(prompt).name}" if prompt else "without a prompt"
        for sound in find_sounds(str(options.output / f"step_{step}" / name)):
            assert isinstance(sound.wav, Path), "sample decodes every level"
            audited = audit_once(auditor, sound, work) if auditor else {}
            tracks.append(
                MilestoneTrack(
                    f"{sound.name}, {title}",
                    sound.wav,
                    _measure_rhythm(sound),
                    audited.get("verdict", ""),
                    audited["shares"]["copied"] if audited else None,
                )
            )
    return tuple(tracks)


def _measure_rhythm(sound: Sound) -> dict[str, float | None]:
    """Measures the rhythm of the generated part of a track."""
    with sound.open_audio() as samples:
        assert samples is not None
        start = min(round(sound.prompt_seconds * audio.SAMPLE_RATE), len(samples))
        return rhythm.measure_rhythm(samples[start:], audio.SAMPLE_RATE).to_dict()


def _describe_milestone(
    run: str, saved: checkpoints.SavedStep, tracks: tuple[MilestoneTrack, ...]
) -> Milestone:
    """Adds the losses of a step: those of the log, or the held-out loss of the checkpoint."""
    log = TrainingRun.read(Path(run))
    training = _find_value(log, "bits_per_code", "train", saved.step)
    heldout = _find_value(log, "bits_per_code", "heldout", saved.step, exact=True)
    gap = _find_value(log, "gap", "heldout", saved.step, exact=True)
    if heldout is None:
        heldout = saved.heldout_loss
    if gap is None and heldout is not None and training is not None:
        gap = heldout - training
    return Milestone(saved.step, training, heldout, gap, tracks)


def _find_value(
    log: TrainingRun, key: str, split: str, step: int, *, exact: bool = False
) -> float | None:
    """Returns a metric at a step, or if not `exact` at the last line of the log before it."""
    points = zip(*log.select_series(key, split), strict=True)
    values = [value for at, value in points if (at == step if exact else at <= step)]
    return values[-1] if values else None
