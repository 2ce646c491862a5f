"""The training loop: batches in, checkpoints and figures out, until the config's end is reached.

It knows no model: a `Task` brings that. All processes of a run walk through it together; what each
decides depends on the run's state alone, so that they decide the same.
"""

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from jukejax.common import files, interruption
from jukejax.common.progress import Progress
from jukejax.runtime import devices, distributed, memory, sharding
from jukejax.training import anneal, checkpoint, finetune, flops, program, telemetry
from jukejax.training.feeding import Feeder
from jukejax.training.step_watch import StepWatch
from jukejax.training.telemetry import Telemetry

# What may change between two starts of one run; anything else would be another run.
MAY_CHANGE = {"steps", "log_every", "eval_every", "eval_batches", "checkpoint_every", "keep"}
MAY_CHANGE |= {"keep_best", "mesh", "accumulate", "tensorboard", "max_skipped", "wandb"}
MAY_CHANGE |= {"sample_every", "vqvae", "audit", "peak_flops"}
REPETITION = (4, 16)  # epochs at which the owner is told
STOP_AFTER = 20  # steps in a row that are not finite


class Interruption:
    """Remembers that somebody asked the run to stop, so that it can save first.

    With several processes SIGTERM is JAX's to handle, and Ctrl-C becomes one: all must stop at the
    same step.
    """

    def __init__(self):
        self.exception: BaseException | None = None
        if distributed.is_shared():
            handlers = {signal.SIGINT: lambda *_: signal.raise_signal(signal.SIGTERM)}
        else:
            handlers = {
                signal.SIGINT: lambda *_: self._set(KeyboardInterrupt()),
                signal.SIGTERM: lambda *_: self._set(interruption.Stopped()),
            }
        self._before = {
            number: signal.signal(number, handler) for number, handler in handlers.items()
        }

    def _set(self, exception: BaseException) -> None:
        self.exception = exception

    def watch(self, steps: StepWatch, checkpoints: checkpoint.Checkpoints) -> None:
        """Lets SIGTERM end the process at once while no step ends, and a second Ctrl-C always."""
        if (signals := interruption.active()) is not None:
            signals.idle_seconds = steps.idle_seconds
            signals.describe = checkpoints.describe_last

    def acknowledge(self) -> None:
        """Notes that the loop has ended: from here on the process ends by itself."""
        if (signals := interruption.active()) is not None:
            signals.acknowledge()
            signals.idle_seconds = None

    def release(self) -> None:
        """Lets signals act at once again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def check_same_run(workdir: Path, config: dict) -> None:
    """Keeps two different configs out of one folder."""
    path = workdir / "config.json"
    files.check_settings(path, config, flag="--workdir", prefix="config.", may_change=MAY_CHANGE)


def mean(rows: list[dict]) -> dict[str, float]:
    """Averages each metric over `rows`, without the steps that were not finite."""
    values = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    return {
        name: float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")
        for name, found in values.items()
    }


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Held-out figures.

    Attributes:
      metrics: means over all batches.
      by_track: {metric: {track: mean}} of what is known of each example.
    """

    metrics: dict[str, float]
    by_track: dict[str, dict[str, float]]

    @property
    def loss(self) -> float:
        """What the best checkpoint is chosen by: bits per code, or a VQ-VAE's reconstruction."""
        if "bits_per_code" in self.metrics:
            return self.metrics["bits_per_code"]
        return sum(v for name, v in self.metrics.items() if name.endswith("/multispectral"))


class Training:
    """One run, from its config to its last checkpoint."""

    def __init__(self, config, workdir: Path):
        self.config, self.workdir = config, workdir
        self.plain_config = json.loads(config.to_json_best_effort())
        if distributed.is_writer():
            workdir.mkdir(parents=True, exist_ok=True)
        check_same_run(workdir, self.plain_config)
        telemetry.check(self.plain_config)
        self.task = program.make_task(config)
        self.mesh = sharding.make_mesh(program.mesh_config(config))
        self.recipe = program.make_recipe(config)
        self.program = program.build_program(self.task, self.recipe, self.mesh)
        self.rows = sharding.batch_rows(self.mesh, config.data.batch_size)
        self.key = jax.random.key(config.seed)
        self.sample_every = config.get("sample_every", config.eval_every)
        self.peak_flops = config.get("peak_flops") or devices.find_peak_flops(
            self.mesh.devices.flat[0].device_kind, config.dtype
        )
        self.gap: dict[str, float] = {}  # held-out less training loss, as far as it is known
        self.sample_rate = self.task.describe()["sample_rate"] if config.task == "vqvae" else None

    def run(self) -> dict:
        """Trains to the end; returns what summary.json says.

        Raises:
          interruption.Stopped, KeyboardInterrupt: after a checkpoint, if the run was asked to stop.
        """
        finished = self._finished()
        if finished is not None:
            return finished
        if distributed.is_writer():
            files.write_json(self.workdir / "config.json", self.plain_config)
            files.write_json(self.workdir / "description.json", self.task.describe())
        # Too little held-out music is said now, not at the first evaluation.
        self.task.open_batches("heldout", self.rows).close()
        batches = Feeder(
            self.task.open_batches("train", self.rows), lambda b: sharding.put_batch(self.mesh, b)
        )
        checkpoints = checkpoint.Checkpoints(
            self.workdir, keep=self.config.keep, keep_best=self.config.get("keep_best", 1)
        )
        stop = Interruption()
        with jax.set_mesh(self.mesh), contextlib.closing(batches):
            self.state, step = self._start(checkpoints, batches)
            with (
                contextlib.closing(Telemetry(self.workdir, self.plain_config, step)) as log,
                StepWatch(step) as self.watch,
            ):
                stop.watch(self.watch, checkpoints)
                step = self._loop(step, batches, checkpoints, log, stop)
                stop.acknowledge()
                checkpoints.close()
                stop.release()
                if stop.exception is not None:
                    print(f"saved at step {step}; the same command goes on", file=sys.stderr)
                    raise stop.exception
                return self._end(step, log)

    # -- Start -----------------------------------------------------------------------------------

    def _finished(self) -> dict | None:
        path = self.workdir / "summary.json"
        if not path.exists():
            return None
        summary = files.read_json(path)
        if summary["steps"] < self.config.steps and not summary.get("ended"):
            return None
        print(f"{self.workdir} is finished: {summary['steps']} steps", file=sys.stderr)
        return summary

    def _start(self, checkpoints: checkpoint.Checkpoints, batches: Feeder):
        """The state to go on from: the newest checkpoint that can be read, or a new one."""
        restored = checkpoints.restore(self.program.target, batches)
        if restored is None:
            run_state = finetune.start(self.config, self.task, self.program, self.key)
            if run_state is None:
                run_state = self.program.init(self.key)
        else:
            run_state, about = restored
            if about["corpus_hash"] != self.task.corpus_hash:
                raise ValueError(
                    f"{self.config.data.folder} is not the data that {self.workdir} began with; "
                    "give that, or take another --workdir"
                )
            print(f"going on from step {int(run_state.step)}", file=sys.stderr)
        params = sum(leaf.size for leaf in jax.tree.leaves(run_state.params))
        print(
            f"{self.task.name}: {params:,} parameters on {self.mesh.size} device(s)",
            file=sys.stderr,
        )
        return run_state, int(run_state.step)

    # -- Loop ------------------------------------------------------------------------------------

    def _loop(self, step, batches, checkpoints, log, stop: Interruption) -> int:
        config = self.config
        progress = Progress(f"training {self.workdir.name}", config.steps, done=step)
        rows, since, waited = [], time.monotonic(), batches.waited
        stop_at = step if self._gave_up() else self._stop_at(int(self.state.anneal.start), step)
        while step < stop_at and stop.exception is None:
            self.state, metrics = self.program.update(self.state, next(batches), self.key)
            rows.append(metrics)
            step += 1
            self.watch.dispatched(step, metrics["loss"])
            last = step >= stop_at
            if step % config.log_every == 0 or last:
                values = mean(rows)
                elapsed = time.monotonic() - since
                values |= self._pace(step, len(rows), elapsed, batches.waited - waited)
                self._check(rows[-1], step)
                stop_at = self._stop_at(int(rows[-1]["anneal_start"]), step)
                del values["anneal_start"]
                log.write(step, "train", values)
                progress.update(step, telemetry.progress_note(values, self.sample_rate))
                rows, since, waited = [], time.monotonic(), batches.waited
            loss = None
            if config.eval_every and step % config.eval_every == 0 and not last:
                loss = self._evaluate_and_log(step, log, config.eval_batches)
                since = time.monotonic()
                if self._gave_up():
                    print(f"stopped: no better held-out loss at step {step}", file=sys.stderr)
                    stop_at = step
            if self.sample_every and step % self.sample_every == 0 and not last:
                self._show(step, log)
                since = time.monotonic()
            better = loss is not None and int(self.state.anneal.stalled) == 0
            if (step % config.checkpoint_every == 0 or better) and not last:
                self._save(step, checkpoints, batches, loss)
            if distributed.is_shared() and checkpoints.reached_preemption(step):
                stop.exception = interruption.Stopped()
        self._save(step, checkpoints, batches, None)
        return step

    def _save(self, step, checkpoints, batches, loss) -> None:
        about = {"corpus_hash": self.task.corpus_hash, "config": self.plain_config}
        checkpoints.save(step, self.state, batches, about, loss)
        self.watch.progressed()

    def _pace(self, step: int, steps: int, elapsed: float, waited: float) -> dict[str, float]:
        examples = self.config.data.batch_size * steps
        pace = {
            "examples_per_s": examples / elapsed,
            "tokens_per_s": examples * self.task.example_codes / elapsed,
            "data_wait": waited / elapsed,
            "memory_bytes": memory.peak_bytes(),
        }
        if self.peak_flops:
            pace["mfu"] = flops.mfu(
                flops.total(self.task.work),
                pace["examples_per_s"],
                self.peak_flops,
                self.mesh.size,
            )
        if self.task.epoch_size:
            epochs = step * self.config.data.batch_size / self.task.epoch_size
            pace["epochs"] = epochs
            before = (step - steps) * self.config.data.batch_size / self.task.epoch_size
            for limit in REPETITION:
                if before < limit <= epochs and distributed.is_writer():
                    print(
                        f"warning: every window has been seen {limit} times at step {step}; watch "
                        "the held-out loss, and run audit on what it makes",
                        file=sys.stderr,
                    )
        return pace

    def _check(self, metrics: dict, step: int) -> None:
        """Ends a run that goes nowhere; its last good weights are in the checkpoints."""
        limit = self.config.get("max_skipped", STOP_AFTER)
        if int(metrics["skipped_in_row"]) >= limit:
            raise ValueError(
                f"{int(metrics['skipped_in_row'])} steps in a row before step {step} had a loss or "
                f"gradient that is not finite (loss {float(metrics['loss'])}); lower "
                "optimizer.learning_rate or raise optimizer.warmup_steps; the weights before them "
                "are kept"
            )

    def _stop_at(self, anneal_start: int, step: int) -> int:
        """The run's last step: where the learning rate reaches zero, if that is in sight."""
        if anneal_start == anneal.NEVER:
            return self.config.steps
        return min(self.config.steps, max(anneal_start + self.recipe.schedule.anneal_steps, step))

    def _gave_up(self) -> bool:
        limit = self.recipe.schedule.stop_on_stall
        return bool(limit) and int(self.state.anneal.stalled) >= limit

    # -- Held-out data ---------------------------------------------------------------------------

    def evaluate(self, limit: int | None) -> Evaluation:
        """Held-out figures of the averaged weights, over `limit` batches or all."""
        sums: dict[str, list] = {}
        per_track: dict[str, dict[int, list]] = {}
        for batch in take(self.task.open_batches("heldout", self.rows), limit):
            batch = sharding.put_batch(self.mesh, batch)
            found = self.program.evaluate(self.state.ema_params, self.state.extra, batch)
            found = {name: np.asarray(value) for name, value in found.items()}
            self.watch.progressed()
            tracks = found.pop("track")
            for name, value in found.items():
                if value.ndim == 0:
                    sums.setdefault(name, []).append(float(value))
                    continue
                for track, of_one in zip(tracks, value, strict=True):
                    per_track.setdefault(name, {}).setdefault(int(track), []).append(float(of_one))
        names = self.task.track_names
        return Evaluation(
            metrics={name: float(np.mean(values)) for name, values in sums.items()},
            by_track={
                name: {names[track]: float(np.mean(v)) for track, v in sorted(tracks.items())}
                for name, tracks in per_track.items()
            },
        )

    def _evaluate_and_log(self, step: int, log: Telemetry, limit: int | None) -> float:
        """Evaluates, lets the schedule know, and returns the held-out loss."""
        found = self._evaluate_to(step, log, limit)
        known = anneal.observe_heldout_loss(
            self.recipe.schedule, self.state.anneal, np.float32(found.loss), np.int32(step)
        )
        placed = jax.device_put(known, self.program.shardings.anneal)
        self.state = self.state.replace(anneal=placed)
        return found.loss

    def _evaluate_to(self, step: int, log: Telemetry, limit: int | None) -> Evaluation:
        """Evaluates and lets the owner know."""
        found = self.evaluate(limit)
        values = found.metrics | telemetry.track_spread(found.by_track.get("example_bits", {}))
        if "bits_per_code" in values:  # the training loss is of the same kind
            values["gap"] = values["bits_per_code"] - float(self.state.anneal.smoothed)
            self.gap = {"gap": values["gap"]}
            if distributed.is_writer():
                print(f"step {step}, {telemetry.heldout_note(values)}", file=sys.stderr)
        log.write(step, "heldout", values)
        return found

    def _show(self, step: int, log: Telemetry) -> None:
        """Lets the owner hear and see the averaged weights; all processes compute it together."""
        shown = self.task.make_preview(self.state.ema_params, self.state.extra)
        if shown is None:
            return
        self.watch.progressed()
        log.show(step, shown)
        if shown.figures:
            values = shown.figures | self.gap
            log.write(step, "heldout", values)
            print(f"step {step}, {telemetry.match_note(values)}", file=sys.stderr)

    # -- End -------------------------------------------------------------------------------------

    def _end(self, step: int, log: Telemetry) -> dict:
        found = self._evaluate_to(step, log, None)
        if self.sample_every:
            self._show(step, log)
        params, extra = self.state.ema_params, self.state.extra
        heldout = self.task.finish_run(params, extra, str(self.workdir), found.metrics)
        summary = {
            "task": self.task.name,
            "steps": step,
            "ended": step < self.config.steps,
            "seconds": round(log.seconds, 2),
            "params": sum(leaf.size for leaf in jax.tree.leaves(params)),
            "skipped": int(self.state.skipped),
            "heldout": heldout,
            "heldout_by_track": found.by_track,
        }
        if distributed.is_writer():
            files.write_json(self.workdir / "summary.json", summary)
        return summary


def take(batches: Iterator[dict], limit: int | None) -> Iterator[dict]:
    """The first `limit` batches, or all."""
    for number, batch in enumerate(batches):
        if number == limit:
            return
        yield batch
