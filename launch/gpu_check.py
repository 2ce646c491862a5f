"""Runs the steps of launch/gpu_check.sh one after the other, each with a limit of its own.

Figures are on disk before the next step begins, so that a run that is cut keeps what it has; a step
that fails does not end the run. Files under $OUT (default benchmarks/results):

    gpu_check_DEVICE_DATE.json   machine, and command, state, seconds and rows of every step
    gpu_check.txt                the same as a table: every bench beside its bound
    gpu_bench.jsonl, .log        rows of the benches as they are measured, and their messages
    gpu_tests.log, gpu_demo.log  of tests and of the pipeline from scratch

Environment: OUT, PYTHON, LIMIT (seconds of all steps together, default 470), SIZE (released, or
tiny for a CPU). Exit code 0: no step failed, though from-scratch may have been cut off by LIMIT;
1: a step failed, or was cut off; 2: no accelerator, or packages of the benches are missing.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYTHON = os.environ.get("PYTHON", sys.executable)
LEAST_SECONDS = 15  # of a step: with less time left it does not begin
GRACE_SECONDS = 5  # from SIGTERM to SIGKILL
DEMO = Path(".cache/gpu_demo")

# Prints facts of the machine as JSON; `missing` fail the tests and the pipeline, not the benches.
PROBE = """
import importlib, importlib.util, json
def find_missing(names):
    return [name for name in names.split() if importlib.util.find_spec(name) is None]
needed = find_missing(
    "absl flax google_crc32c grain jax ml_collections numpy optax orbax scipy soundfile soxr")
facts = {"missing": find_missing(
    "av fsspec librosa matplotlib mutagen pyloudnorm pytest safetensors tensorflow_datasets")}
if not needed:
    import jax
    device = jax.devices()[0]
    facts |= {"jax": jax.__version__, "platform": device.platform, "device": device.device_kind}
    try:
        importlib.import_module("jukejax.training.program")
        importlib.import_module("jukejax.benches.decode_program")
    except ImportError as error:  # a package that one of those needs
        needed.append(error.name or str(error))
print(json.dumps(facts | {"missing_of_benches": needed}))
"""

# A row of `pallas` must not be one of `xla`, which runs the layers that `pallas` cannot.
NO_FALLBACK = "error:attention backend:UserWarning"
TESTS = (
    "tests/test_golden.py tests/ops/attention/test_kinds.py tests/ops/test_cache.py"
    " tests/models/test_transformer.py tests/models/test_autoregressive.py tests/ops/test_logits.py"
    " tests/inference/test_token_loop.py tests/ops/test_stft.py tests/ops/test_quantize.py"
)


@dataclasses.dataclass(frozen=True)
class Step:
    """A command with a time limit; what it prints is appended to a file of $OUT.

    Attributes:
      rows: whether it prints rows of JSON, to gpu_bench.jsonl, and messages to `log`.
      may_be_cut: whether the run is complete without its end.
    """

    name: str
    limit: float
    command: list[str]
    log: str = "gpu_bench.log"
    rows: bool = True
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    may_be_cut: bool = False


def make_bench(name: str, limit: float, arguments: str) -> Step:
    command = [PYTHON, "-m", "jukejax.bench", *arguments.split(), "--json"]
    return Step(name, limit, command)


def list_steps(size: str) -> list[Step]:
    """Lists the steps, the most valuable first.

    The limits up to the attention backends sum to less than the 470 s of LIMIT, so that no slow
    compilation keeps those benches from being run.
    """
    is_tiny = size == "tiny"
    loops = ["tiny", "tiny"] if is_tiny else ["released", "configs/pod_prior_5b.py"]
    tokens = 16 if is_tiny else 512
    small, large = (
        ("tiny --batch=1", "train_small --batch=1 --repeat=1")
        if is_tiny
        else (
            "small_prior --batch=4 --remat=block",
            "configs/house_prior_1b.py --batch=16 --accumulate=2",
        )
    )
    codec = "--seconds=0.2 --samples=2048" if is_tiny else "--seconds=30 --batch=4"
    attention = (
        "--seq_lens=1024 --width=64" if is_tiny else "--config=upsampler"
    ) + " --dtype=bfloat16"
    decode = f"decode --dtype=bfloat16 --tokens={tokens}"
    return [
        make_bench("decode, batch 1", 75, f"{decode} --config={loops[0]} --batch=1"),
        make_bench("decode, batch 8", 65, f"{decode} --config={loops[0]} --batch=8"),
        make_bench("decode 5b, batch 1", 45, f"{decode} --config={loops[1]} --batch=1"),
        make_bench("decode 5b, batch 8", 45, f"{decode} --config={loops[1]} --batch=8"),
        make_bench("train small_prior", 45, f"train --dtype=bfloat16 --config={small}"),
        make_bench("train 1b", 55, f"train --dtype=bfloat16 --config={large}"),
        make_bench("vqvae codec", 25, f"vqvae --part=codec {codec}"),
        make_bench("vqvae training", 30, f"vqvae --part=train {codec}"),
        make_bench("attention", 35, f"attention {attention} --kinds=1,2,3,pattern,dense3"),
        dataclasses.replace(
            make_bench(
                "attention, pallas",
                30,
                f"attention {attention} --kinds=1,2,3,pattern --backend=pallas",
            ),
            environment={} if is_tiny else {"PYTHONWARNINGS": NO_FALLBACK},
        ),
        Step(
            "tests",
            90,
            [PYTHON, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", *TESTS.split()],
            log="gpu_tests.log",
            rows=False,
            environment={"JUKEJAX_TEST_PLATFORM": "device"},
        ),
        Step(
            "from scratch",
            600,
            ["launch/from_scratch.sh"],
            log="gpu_demo.log",
            rows=False,
            environment={
                "RUN": str(DEMO), "PYTHON": PYTHON, "TRACKS": "4" if is_tiny else "24",
                "SIZE": "cpu" if is_tiny else "gpu",
            },
            may_be_cut=True,
        ),
    ]  # fmt: skip


def run_step(step: Step, limit: float, out: Path) -> dict[str, Any]:
    """Runs a step for at most `limit` seconds; returns its record.

    Its state is ok, failed, or cut: rows that were printed before are kept in each case.
    """
    rows_file = out / "gpu_bench.jsonl"
    printed = rows_file.stat().st_size if rows_file.exists() else 0
    started_at = time.monotonic()
    with (out / step.log).open("ab") as log, rows_file.open("ab") as rows:
        log.write(f"$ {' '.join(step.command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=rows if step.rows else log,
            stderr=log,
            env=os.environ | step.environment,
            process_group=0,
        )
        try:
            code = process.wait(limit)
            state = "ok" if code == 0 else "failed"
        except subprocess.TimeoutExpired:
            code, state = None, "cut"
        finally:
            if process.poll() is None:
                _end_processes(process)
    return {
        "step": step.name,
        "command": " ".join(step.command),
        "state": state,
        "exit_code": code,
        "limit_seconds": round(limit),
        "seconds": round(time.monotonic() - started_at, 1),
        "rows": list(_read_rows(rows_file, printed)),
    }


def _end_processes(process: subprocess.Popen) -> None:
    """Ends a step's process and those that it started, which may be saving a checkpoint."""
    with contextlib.suppress(ProcessLookupError):  # raised when none is left
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_rows(path: Path, offset: int) -> Iterator[dict[str, Any]]:
    """Yields the rows behind an offset; a last line that was cut off is left out."""
    with path.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def format_summary(result: dict[str, Any]) -> list[str]:
    """Formats a result as a table: a line for each step, and one for each of its rows."""
    machine = result["machine"]
    head = f"{'step':<52} {'seconds':>10} {'bound':>10} {'times':>7}  {'by':<10} {'other figures'}"
    lines = [f"gpu_check on {machine['device']}, jax {machine['jax']}, {result['date']}", head]
    for step in result["steps"]:
        code = f" {step['exit_code']}" if step["state"] == "failed" else ""
        lines.append(f"{step['step']:<52} {step['seconds']:>10} {step['state'] + code}")
        lines += [_format_row(row) for row in step["rows"] if row.get("seconds")]
    return lines


def _format_row(row: dict[str, Any]) -> str:
    names = ("config", "what", "kind", "direction", "backend", "weights")
    label = " ".join(str(row[name]) for name in names if row.get(name) not in (None, "float"))
    if row.get("batch"):
        label += f", batch {row['batch']}"
    bound = row.get("bound_seconds")
    times = f"{row['seconds'] / bound:.3g}" if bound else "-"
    shown = ("tokens_per_s", "ms_per_step", "mfu", "tflops", "train_audio_seconds_per_s")
    figures = [f"{name} {row[name]:.4g}" for name in shown if row.get(name)]
    figures += [f"{name} {row[name]:.4g}" for name in row if "x_realtime" in name and row[name]]
    return (
        f"  {label[:50]:<50} {row['seconds']:>10.4g} {f'{bound:.3g}' if bound else '-':>10} "
        f"{times:>7}  {row.get('bound') or '-':<10} {', '.join(figures)}"
    )


def read_demo(folder: Path) -> dict[str, Any]:
    """Reads the figures of the pipeline; of one that was cut, those of the stages that ended."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text()) if path.exists() else None

    timings = read(folder / "timings.json")
    unfinished = folder / "timings.json.tmp"
    if timings is None and unfinished.exists():
        timings = json.loads(unfinished.read_text().rstrip().rstrip(",") + "}")
    return {
        "timings": timings,
        "runs": {path.parent.name: read(path) for path in sorted(folder.glob("*/summary.json"))},
        "samples": [read(path) for path in sorted(folder.glob("samples/item_*/meta.json"))],
    }


def write_result(out: Path, result: dict[str, Any]) -> None:
    """Writes the figures and their table, each as a whole."""
    device = re.sub(r"[^\w.-]", "_", result["machine"]["device"])
    for name, text in {
        f"gpu_check_{device}_{result['date']}.json": json.dumps(result, indent=1),
        "gpu_check.txt": "\n".join(format_summary(result)),
    }.items():
        part = out / f"{name}.part"
        part.write_text(text + "\n")
        part.replace(out / name)


def find_machine(size: str) -> dict[str, Any]:
    """Returns facts of the machine.

    Raises:
      ValueError: the benches cannot be run.
    """
    probe = subprocess.run([PYTHON, "-c", PROBE], stdout=subprocess.PIPE, text=True)
    if probe.returncode:
        raise ValueError("JAX does not start; see above, and BUILD.md")
    machine: dict[str, Any] = json.loads(probe.stdout.splitlines()[-1])
    if missing := machine["missing_of_benches"]:
        raise ValueError(f"{PYTHON} lacks {', '.join(missing)}; install them (BUILD.md)")
    if machine["platform"] == "cpu" and size != "tiny":
        raise ValueError("JAX sees no accelerator, only a CPU; see BUILD.md, or take SIZE=tiny")
    return machine


def main() -> int:
    """Runs all steps; returns the exit code."""
    started_at = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the step that is running
    limit, size = float(os.environ.get("LIMIT", "470")), os.environ.get("SIZE", "released")
    out = Path(os.environ.get("OUT", "benchmarks/results"))
    out.mkdir(parents=True, exist_ok=True)
    for name in ("gpu_bench.jsonl", "gpu_bench.log", "gpu_tests.log", "gpu_demo.log"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(DEMO, ignore_errors=True)
    try:
        machine = find_machine(size)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if machine["missing"]:
        print(f"warning: missing packages: {', '.join(machine['missing'])}", file=sys.stderr)
    date = datetime.date.today().isoformat()
    result = {"check": "gpu_check", "date": date, "machine": machine, "steps": []}
    failed = False
    for step in list_steps(size):
        left = limit - (time.monotonic() - started_at)
        if left < LEAST_SECONDS:
            record = {"step": step.name, "state": "no time", "seconds": 0.0, "rows": []}
        else:
            print(f"$ {' '.join(step.command)}", flush=True)
            record = run_step(step, min(step.limit, left), out)
            print(f"  {record['state']}, {record['seconds']} s", flush=True)
        failed |= record["state"] != "ok" and not (
            step.may_be_cut and record["state"] in ("cut", "no time")
        )
        result["steps"].append(record)
        result["demo"] = read_demo(DEMO)
        write_result(out, result)
    print("", *format_summary(result), "", f"figures: {out}", sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
