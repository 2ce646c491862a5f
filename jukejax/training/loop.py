"""The training loop: from a config to checkpoints, a log and a summary.

The loop is independent of the model, which a `Task` provides. All processes of a run execute it in
parallel; each decision depends only on the run's state, so that all processes decide alike.
"""

import contextlib
import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jukejax.common import files, interruption
from jukejax.common.formatting import format_count
from jukejax.common.progress import Progress
from jukejax.runtime import devices, distributed, sharding
from jukejax.training import (
    anneal,
    checkpoint,
    divergence,
    finetune,
    profiling,
    program,
    rate_plan,
    resuming,
    telemetry,
)
from jukejax.training.config_values import parse_span
from jukejax.training.feeding import Feeder
from jukejax.training.heldout import Evaluation, HeldoutCurve
from jukejax.training.interruption import Interruption
from jukejax.training.kept_steps import Milestones
from jukejax.training.pace import MetricAccumulator, Pace, StepTimer
from jukejax.training.run_store import RunStore
from jukejax.training.state import TrainState, count_leaves, select_saved
from jukejax.training.step_watch import StepWatch
from jukejax.training.telemetry import Telemetry

COMPILED_AFTER = 2  # steps of a start, which include compilation: they give no estimate of time


class Training:
    """Trains the model of a config in a workdir."""

    state: TrainState
    watch: StepWatch

    def __init__(self, config: ConfigDict, workdir: Path, store: RunStore | None = None):
        """Checks the config against the workdir and the data.

        Args:
          store: of a workdir in a bucket.
        """
        self.config, self.workdir, self.store = config, workdir, store
        self.plain_config = json.loads(config.to_json_best_effort())
        if distributed.is_writer():
            workdir.mkdir(parents=True, exist_ok=True)
        resuming.check_same_run(workdir, self.plain_config)
        telemetry.check_loggers(self.plain_config)
        self.task = program.make_task(config)
        self.mesh = sharding.make_mesh(program.mesh_config(config))
        self.recipe = program.make_recipe(config)
        self.program = program.build_program(self.task, self.recipe, self.mesh)
        self.rows = sharding.batch_rows(self.mesh, config.data.batch_size)
        self.key = jax.random.key(config.seed)
        self.milestones = Milestones.read(config)
        self.tracer = profiling.StepTracer(parse_span(config.get("profile", "")), workdir)
        self.sample_every = config.get("sample_every", config.eval_every)
        self.max_skipped = min(config.get("max_skipped", divergence.STOP_AFTER), config.steps)
        peak_flops = config.get("peak_flops") or devices.find_peak_flops(
            self.mesh.devices.flat[0].device_kind, config.dtype
        )
        self.pace = Pace(self.task, config.data.batch_size, peak_flops, self.mesh.size)
        self.heldout = HeldoutCurve(self.program, self.rows, config)

    def run(self) -> dict[str, Any]:
        """Trains to the last step, and returns the content of summary.json.

        Raises:
          divergence.DivergenceError: the loss is not finite; names the last sound checkpoint.
          interruption.Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C, after a checkpoint.
        """
        try:
            return self._run()
        except divergence.DivergenceError as error:  # all checkpoints are closed
            saved = self.workdir if self.store is None else self.store.open_copy()
            raise divergence.record_divergence(self.workdir, error, saved) from None

    def _run(self) -> dict[str, Any]:
        summary = self._read_summary()
        if summary is not None:
            return summary
        description = self.task.describe()
        resuming.check_same_base(self.workdir, description)
        if distributed.is_writer():
            files.write_json(self.workdir / "config.json", self.plain_config)
            files.write_json(self.workdir / "description.json", description)
        # Raises here, not at the first evaluation, if there is too little held-out music.
        self.task.open_batches("heldout", self.rows).close()
        put_batch = functools.partial(sharding.put_batch, self.mesh)
        batches = Feeder(self.task.open_batches("train", self.rows), put_batch)
        checkpoints = checkpoint.Checkpoints(
            self.workdir,
            keep=self.config.keep,
            keep_best=self.config.get("keep_best", 1),
            sample=self.heldout.sample,
            milestones=self.milestones,
            store=self.store,
        )
        stop = Interruption()
        with jax.set_mesh(self.mesh), contextlib.closing(batches), contextlib.closing(checkpoints):
            self.state = self._restore_or_start(checkpoints, batches)
            step = int(self.state.step)
            with (
                contextlib.closing(Telemetry(self.workdir, self.plain_config, step)) as log,
                StepWatch(step) as self.watch,
                contextlib.closing(self.tracer),
            ):
                stop.watch(self.watch, checkpoints)
                step = self._train(step, batches, checkpoints, log, stop)
                stop.acknowledge()
                checkpoints.close()
                stop.release()
                if stop.exception is not None:
                    print(f"saved at step {step}; the same command continues", file=sys.stderr)
                    raise stop.exception
                return self._finish(step, log)

    # -- Start -----------------------------------------------------------------------------------

    def _read_summary(self) -> dict[str, Any] | None:
        """Returns the summary of a finished run; None if the run is not finished."""
        finished = resuming.read_finished(self.workdir, self.config.steps)
        if finished is None:
            return None
        self._check_corpus(finished.corpus_hash)
        steps = format_count(finished.steps, "step")
        print(f"{self.workdir} is finished: {steps}", file=sys.stderr)
        return files.read_json(self.workdir / "summary.json")

    def _check_corpus(self, stored: str | None) -> None:
        resuming.check_same_corpus(
            self.workdir, self.config.data.folder, stored, self.task.corpus_hash
        )

    def _restore_or_start(self, checkpoints: checkpoint.Checkpoints, batches: Feeder) -> TrainState:
        """Restores the newest readable checkpoint, or returns the state of a new run."""
        target = select_saved(self.task, self.program.target)
        restored = checkpoints.restore(target, batches)
        if restored is not None:
            run_state, about = restored
            if not self.task.saves_extra:
                _, base = finetune.load_weights(self.config, self.program, self.key)
                run_state = dataclasses.replace(run_state, extra=base)
            self._check_corpus(about["corpus_hash"])
            print(f"continuing from step {int(run_state.step)}", file=sys.stderr)
            compared = self.heldout.restart_comparison(
                run_state.anneal, about.get("heldout_sample")
            )
            placed = jax.device_put(compared, self.program.shardings.anneal)
            run_state = dataclasses.replace(run_state, anneal=placed)
        else:
            pretrained = finetune.load_state(self.config, self.program, self.key)
            run_state = self.program.init(self.key) if pretrained is None else pretrained
        params = count_leaves(run_state.params)
        size = f"{params:,} parameters on {format_count(self.mesh.size, 'device')}"
        if not self.task.saves_extra:
            size = f"adapters with {size}, of a base of {count_leaves(run_state.extra):,}"
        print(f"{self.task.name}: {size}", file=sys.stderr)
        rate_plan.warn_of_rate(self.recipe.optimizer, self.recipe.schedule, self.config.steps)
        return run_state

    # -- Loop ------------------------------------------------------------------------------------

    def _train(
        self,
        step: int,
        batches: Feeder,
        checkpoints: checkpoint.Checkpoints,
        log: Telemetry,
        stop: Interruption,
    ) -> int:
        """Trains until the last step or a stop request, saves, and returns the step reached."""
        config = self.config
        progress = Progress(f"training {self.workdir.name}", config.steps, done=step)
        metrics, timer = MetricAccumulator(), StepTimer(batches)
        last_step = self._find_last_step(self.state.anneal.start, step)
        if self._has_stalled():
            last_step = step
        loss, first = None, step
        while step < last_step and stop.exception is None:
            with self.tracer.trace_step(step + 1):
                self.state, step_metrics = self.program.update(self.state, next(batches), self.key)
            metrics.add(step_metrics)
            step += 1
            self.tracer.end_step(step, step_metrics)
            if step - first <= COMPILED_AFTER:
                jax.block_until_ready(step_metrics)
                progress.restart_estimate(step)
            self.watch.add_step(step, step_metrics["loss"])
            is_last = step >= last_step
            if step % config.log_every == 0 or is_last:
                values = self._log_metrics(step, metrics, timer, log)
                progress.update(step, telemetry.format_progress(values, self.task.sample_rate))
                last_step = self._find_last_step(step_metrics["anneal_start"], step)
                is_last = step >= last_step
                metrics.reset()
                timer.reset()
            loss, is_milestone = None, step in self.milestones
            if config.eval_every and (step % config.eval_every == 0 or is_last):
                with timer.paused():
                    loss = self._evaluate_and_update(step, log)
                if not is_last and self._has_stalled():
                    print(f"stopped: no better held-out loss at step {step}", file=sys.stderr)
                    last_step = step
            elif config.eval_every and is_milestone:  # the schedule follows `eval_every` alone
                with timer.paused():
                    loss = self._measure_heldout(step, log).loss
            if self.sample_every and step % self.sample_every == 0 and not is_last:
                with timer.paused():
                    self._show_preview(step, log)
            is_best = loss is not None and int(self.state.anneal.stalled) == 0
            is_due = step % config.checkpoint_every == 0 or is_milestone
            if (is_due or is_best) and not is_last:
                self._save(step, checkpoints, batches, loss)
            if distributed.is_shared() and checkpoints.reached_preemption(step):
                stop.request(interruption.Stopped())
        self._save(step, checkpoints, batches, loss)
        return step

    def _log_metrics(
        self, step: int, metrics: MetricAccumulator, timer: StepTimer, log: Telemetry
    ) -> dict[str, float]:
        """Logs and returns the means of the metrics since the previous line of the log."""
        values = metrics.mean()
        values |= self.pace.measure(step, len(metrics), timer.elapsed, timer.wait_seconds)
        self.pace.warn_of_repetition(step, len(metrics))
        divergence.check_steps(metrics.last, step, self.max_skipped)
        del values["anneal_start"]
        log.log_metrics(step, "train", values)
        return values

    def _save(
        self, step: int, checkpoints: checkpoint.Checkpoints, batches: Feeder, loss: float | None
    ) -> None:
        about = {"corpus_hash": self.task.corpus_hash, "config": self.plain_config}
        about["heldout_sample"] = self.heldout.sample
        loss = loss if loss is not None and np.isfinite(loss) else None
        checkpoints.save(step, select_saved(self.task, self.state), batches, about, loss)
        self.watch.note_progress()

    def _find_last_step(self, anneal_start: jax.Array, step: int) -> int:
        """Returns `config.steps`, or the step at which an annealing learning rate reaches zero."""
        if int(anneal_start) == anneal.NEVER:
            return self.config.steps
        end = int(anneal_start) + self.recipe.schedule.anneal_steps
        return min(self.config.steps, max(end, step))

    def _has_stalled(self) -> bool:
        """Returns true after `schedule.stop_on_stall` evaluations without a better loss."""
        limit = self.recipe.schedule.stop_on_stall
        return bool(limit) and int(self.state.anneal.stalled) >= limit

    # -- Held-out data ---------------------------------------------------------------------------

    def _measure_heldout(self, step: int, log: Telemetry) -> Evaluation:
        return self.heldout.measure_sample(step, self.state, log, self.watch.note_progress)

    def _evaluate_and_update(self, step: int, log: Telemetry) -> float:
        """Evaluates, updates the state of the schedule, and returns the held-out loss."""
        loss = self._measure_heldout(step, log).loss
        updated = anneal.observe_heldout_loss(
            self.recipe.schedule, self.state.anneal, np.float32(loss), np.int32(step)
        )
        placed = jax.device_put(updated, self.program.shardings.anneal)
        self.state = dataclasses.replace(self.state, anneal=placed)
        return loss

    def _show_preview(self, step: int, log: Telemetry) -> None:
        """Logs a preview of the averaged weights; all processes must call it at the same step."""
        averages = self.program.load_averages(self.state)
        preview = self.task.make_preview(averages, self.state.extra)
        if preview is None:
            return
        self.watch.note_progress()
        log.log_preview(step, preview)
        if preview.figures:
            values = preview.figures | self.heldout.gap
            log.log_metrics(step, "heldout", values)
            print(f"step {step}, {telemetry.format_match_rates(values)}", file=sys.stderr)

    # -- End -------------------------------------------------------------------------------------

    def _finish(self, step: int, log: Telemetry) -> dict[str, Any]:
        """Evaluates on all held-out data, and writes and returns the summary."""
        evaluation = self.heldout.measure_all(step, self.state, log, self.watch.note_progress)
        divergence.check_evaluation(evaluation.loss, step, int(self.state.skipped_in_row))
        if self.sample_every:
            self._show_preview(step, log)
        params, extra = self.program.load_averages(self.state), self.state.extra
        heldout = self.task.finish_run(params, extra, str(self.workdir), evaluation.metrics)
        summary = {
            "task": self.task.name,
            "corpus_hash": self.task.corpus_hash,
            "steps": step,
            "ended": step < self.config.steps,
            "seconds": round(log.seconds, 2),
            "params": count_leaves(params),
            "skipped": int(self.state.skipped),
            "heldout": heldout,
            "heldout_by_track": evaluation.by_track,
        }
        if distributed.is_writer():
            files.write_json(self.workdir / "summary.json", summary)
        divergence.clear_divergence(self.workdir)
        return summary
