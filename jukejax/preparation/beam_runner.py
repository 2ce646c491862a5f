"""Preparation on many machines: the same job on every source, as an Apache Beam pipeline.

Create -> Reshuffle -> Map(job): one track is the unit of work. The machines share the cache (a disk
or a bucket). The results of all sources are collected in one file in the cache, from which the
parent writes the shards, byte for byte as on one machine.
"""

import json
import logging
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jukejax.common import extras, files, storage
from jukejax.common.config import freeze
from jukejax.preparation.job import Job
from jukejax.preparation.prepared_track import PreparedTrack, Source

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions


def prepare_with_beam(sources: Sequence[Source], job: Job, *, options: str) -> list[PreparedTrack]:
    """Runs `job` on every source in a Beam pipeline; returns results in the order of `sources`.

    Args:
      options: Beam's own flags in one string, `--runner=...` among them; the default is Beam's
        DirectRunner, on this machine.

    Raises:
      ValueError: Beam is not installed, an option is unknown, or the pipeline fails.
    """
    parsed = parse_options(options)
    import apache_beam as beam

    results_path = storage.join_path(job.cache, f"results-{uuid.uuid4().hex}.json")
    pipeline = beam.Pipeline(options=parsed)
    _ = (
        pipeline
        | "sources" >> beam.Create(list(sources))
        | "spread" >> beam.Reshuffle()
        | "make" >> beam.Map(_run_job, job)
        | "gather" >> beam.combiners.ToList()
        | "results" >> beam.Map(_write_results, results_path)
    )
    try:
        pipeline.run().wait_until_finish()
        with storage.local_copy(results_path) as path:
            results = read_results(path, sources)
    except Exception as error:  # runners raise errors of any type
        raise ValueError(f"the Beam pipeline failed: {_find_error_line(error)}") from error
    storage.remove_file(results_path)
    return results


def parse_options(options: str) -> "PipelineOptions":
    """Parses Beam's flags, such as `--direct_num_workers=2`.

    Raises:
      ValueError: Beam is not installed, or an option is unknown.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            "--runner=beam needs Apache Beam, which is not installed: "
            f"{extras.format_install('beam')}"
        ) from error
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # errors are reported by this module
    words = shlex.split(options)
    stray = [word for word in words if not word.startswith("--")]
    if stray:
        raise ValueError(f"--beam_options holds {stray[0]!r}; write Beam's flags as --name=value")
    try:
        parsed = PipelineOptions(words)
        names = parsed.get_all_options().keys()
        unknown = parsed.get_all_options(retain_unknown_options=True).keys() - names
    except SystemExit as error:  # by argparse, after its message
        raise ValueError(f"--beam_options={options!r} is not what Beam accepts") from error
    if unknown:
        raise ValueError(f"--beam_options holds {min(unknown)}, which is no flag of Beam")
    return parsed


def _run_job(source: Source, job: Job) -> dict:
    """Prepares one source on a worker, and counts it for the runner's monitor."""
    from apache_beam.metrics import Metrics

    prepared = job(source)
    Metrics.counter("jukejax", "skipped" if prepared.reason else "prepared").inc()
    return asdict(prepared)


def _write_results(rows: list[dict], path: str) -> None:
    """Writes the results of all sources, on a worker."""
    files.store_bytes(path, json.dumps(rows).encode())


def read_results(path: Path, sources: Sequence[Source]) -> list[PreparedTrack]:
    """Reads the results that a pipeline wrote, in the order of `sources`.

    Raises:
      ValueError: the file is damaged, or lacks a source.
    """
    rows = json.loads(path.read_text("utf-8"))
    if not isinstance(rows, list):
        raise ValueError(f"{path.name} is damaged: it holds no list")
    results = [freeze(PreparedTrack, row, f"{path.name}[{i}]") for i, row in enumerate(rows)]
    by_name = {result.name: result for result in results}
    for source in sources:
        if source.name not in by_name:
            raise ValueError(f"{path.name} is damaged: it lacks {source.name}")
    return [by_name[source.name] for source in sources]


def _find_error_line(error: Exception) -> str:
    """Returns the line with the error's message from the worker's traceback in a runner's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or "Error]" in line]
    return (named or lines or [type(error).__name__])[-1]
