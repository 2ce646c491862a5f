"""Preparing on many machines: the same job on every source, as an Apache Beam pipeline.

Create -> Reshuffle -> Map(job): one track is the unit of work. The cache is what the machines
share (a disk or a bucket); what became of each source comes back through one file in it, and the
parent writes the shards, as it does on one machine, to the same bytes.
"""

import json
import logging
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import asdict

from jukejax.preparation import places, tracks
from jukejax.preparation.job import Job


def make_tracks(sources: Sequence[tracks.Source], job: Job, *, options: str) -> list[tracks.Made]:
    """Runs `job` on every source in a Beam pipeline; results in the order of `sources`.

    Args:
      options: Beam's own flags in one string, `--runner=...` among them; the default is Beam's
        DirectRunner, on this machine.

    Raises:
      ValueError: if Beam is not installed, does not know an option, or the pipeline fails.
    """
    parsed = parse_options(options)
    import apache_beam as beam

    results = places.join(job.cache, f"results-{uuid.uuid4().hex}.json")
    pipeline = beam.Pipeline(options=parsed)
    _ = (
        pipeline
        | "sources" >> beam.Create(list(sources))
        | "spread" >> beam.Reshuffle()
        | "make" >> beam.Map(_make, job)
        | "gather" >> beam.combiners.ToList()
        | "results" >> beam.Map(_write, results)
    )
    try:
        pipeline.run().wait_until_finish()
        with places.local_copy(results) as path:
            made = {row["name"]: tracks.Made(**row) for row in json.loads(path.read_text())}
    except Exception as error:  # runners raise what they like, mostly RuntimeError with a traceback
        raise ValueError(f"the Beam pipeline failed: {_last_line(error)}") from error
    places.remove(results)
    return [made[source.name] for source in sources]


def parse_options(options: str):
    """Beam's PipelineOptions of a string such as `--direct_num_workers=2`.

    Raises:
      ValueError: if Beam is not installed, or for an option that it does not know.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            "--runner=beam needs Apache Beam, which is not installed: pip install 'jukejax[beam]'"
        ) from error
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # what users must know we say
    given = shlex.split(options)
    stray = [word for word in given if not word.startswith("--")]
    if stray:
        raise ValueError(f"--beam_options holds {stray[0]!r}; write Beam's flags as --name=value")
    try:
        parsed = PipelineOptions(given)
        known = parsed.get_all_options()
        unknown = parsed.get_all_options(retain_unknown_options=True).keys() - known.keys()
    except SystemExit as error:  # argparse's, after saying why
        raise ValueError(f"--beam_options={options!r} is not what Beam accepts") from error
    if unknown:
        raise ValueError(f"--beam_options holds {min(unknown)}, which Beam does not know")
    return parsed


def _make(source: tracks.Source, job: Job) -> dict:
    """On a worker: one source, and its count for the runner's monitor."""
    from apache_beam.metrics import Metrics

    made = job(source)
    Metrics.counter("jukejax", "skipped" if made.reason else "prepared").inc()
    return asdict(made)


def _write(rows: list[dict], place: str) -> None:
    """On a worker: what became of every source, as one file of the cache."""
    places.put_bytes(json.dumps(rows).encode(), place)


def _last_line(error: Exception) -> str:
    """Of a worker's traceback inside a runner's error, the line that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line or "Error]" in line]
    return (named or lines or [type(error).__name__])[-1]
