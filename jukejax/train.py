"""Train what a config names: the VQ-VAE, the top prior or an upsampler.

    python -m jukejax.train --config=configs/demo.py:vqvae --workdir=runs/vqvae

Any value of the config can be changed on the command line: --config.steps=2000. A run that was
stopped, or killed, goes on from its newest checkpoint when the same command is given again, and
ends with the same weights as if nothing had happened.
"""

import functools
import importlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from jukejax import cli
from jukejax.data.audio import write_atomic

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "What to train: a file of configs/, with a variant after a colon."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of this run: checkpoints, metrics.jsonl, summary.json."
)

# What may change between two starts of one run; anything else would be another run.
MAY_CHANGE = {"steps", "log_every", "eval_every", "eval_batches", "checkpoint_every", "keep"}


class Interruption:
    """Remembers that somebody asked the run to stop, so that it can save first."""

    def __init__(self):
        self.exception: BaseException | None = None
        self._before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: self._set(cli.Stopped())),
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: self._set(KeyboardInterrupt())),
        }

    def _set(self, exception: BaseException) -> None:
        self.exception = exception

    def release(self) -> None:
        """Lets signals act at once again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def make_task(config):
    """The task module that `config.task` names."""
    tasks = ("vqvae", "prior")
    if config.task not in tasks:
        raise ValueError(f"config.task is {config.task!r}; known: {', '.join(tasks)}")
    return importlib.import_module(f"jukejax.tasks.{config.task}").make(config)


def check_same_run(workdir: Path, config: dict) -> None:
    """Keeps two different configs out of one folder."""
    path = workdir / "config.json"
    if not path.exists():
        return
    before = json.loads(path.read_text())
    for key in sorted(before.keys() | config.keys()):
        if key not in MAY_CHANGE and before.get(key) != config.get(key):
            raise ValueError(
                f"{workdir} holds a run with config.{key} = {before.get(key)}, not "
                f"{config.get(key)}; take another --workdir, or the old value"
            )


class Log:
    """metrics.jsonl, one JSON object a line; a resumed run first cuts off what it will redo."""

    def __init__(self, path: Path, step: int):
        lines = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the run was killed while it wrote this line
            if row["step"] <= step:
                lines.append(row)
        self._before = lines[-1]["seconds"] if lines else 0.0
        self._start = time.monotonic()
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in lines).encode())
        self._file = path.open("a")

    @property
    def seconds(self) -> float:
        """Since the run began, without the time it lay still."""
        return self._before + time.monotonic() - self._start

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        row = {"step": step, "split": split, "seconds": round(self.seconds, 3), **values}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def mean(rows: list[dict]) -> dict[str, float]:
    """Averages each metric over `rows`."""
    return {name: float(sum(float(row[name]) for row in rows) / len(rows)) for name in rows[0]}


def check_finite(loss: float, step: int) -> None:
    if not -float("inf") < loss < float("inf"):
        raise ValueError(
            f"the loss is {loss} at step {step}; lower optimizer.learning_rate, or raise "
            "optimizer.warmup_steps; the last checkpoint is kept"
        )


def train(config, workdir: Path) -> dict:
    """Runs to `config.steps`; returns what summary.json says."""
    import jax

    from jukejax import checkpoint, optim, sharding, state
    from jukejax.config import freeze
    from jukejax.progress import Progress
    from jukejax.weights import bundle

    # -- Config and folder ---------------------------------------------------------------------
    plain_config = json.loads(config.to_json_best_effort())
    workdir.mkdir(parents=True, exist_ok=True)
    check_same_run(workdir, plain_config)
    summary_path = workdir / "summary.json"
    if summary_path.exists():
        summary = bundle.read_json(summary_path)
        if summary["steps"] >= config.steps:
            print(f"{workdir} is finished: {summary['steps']} steps", file=sys.stderr)
            return summary

    # -- Task, mesh, optimizer -----------------------------------------------------------------
    task = make_task(config)
    bundle.write_json(workdir / "config.json", plain_config)
    bundle.write_json(workdir / "description.json", task.describe())
    optimizer_config = freeze(optim.OptimizerConfig, config.optimizer, "config.optimizer")
    optimizer = optim.make_optimizer(optimizer_config)
    rate = optim.schedule(optimizer_config)
    decay = optim.ema_decay(optimizer_config, config.data.batch_size)
    mesh = sharding.make_mesh(freeze(sharding.MeshConfig, config.get("mesh", {}), "config.mesh"))
    key = jax.random.key(config.seed)

    # -- State, straight into its shards -------------------------------------------------------
    init = functools.partial(state.init_state, task.init, optimizer)
    boxed = jax.eval_shape(init, key)
    shardings = sharding.state_shardings(mesh, boxed)
    unbox = jax.jit(lambda key: sharding.unbox(init(key)), out_shardings=shardings)
    batches = task.batches("train")
    checkpoints = checkpoint.Checkpoints(workdir, keep=config.keep)
    # 1. A complete checkpoint in the workdir: go on from the newest, loader included.
    # 2. Otherwise: start.
    step = checkpoints.latest()
    if step is not None:
        target = sharding.shapes_with(shardings, boxed)
        run_state = checkpoints.restore(step, target, batches)
        print(f"going on from step {step}", file=sys.stderr)
    else:
        step = 0
        run_state = unbox(key)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(run_state.params))
    print(f"{task.name}: {num_params:,} parameters on {mesh.size} device(s)", file=sys.stderr)

    # -- Steps ---------------------------------------------------------------------------------
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    update = jax.jit(
        functools.partial(state.train_step, task.loss, optimizer, decay),
        donate_argnums=0,
        out_shardings=(shardings, replicated),
    )
    evaluate_batch = jax.jit(task.evaluate)

    def evaluate(limit: int | None) -> dict[str, float]:
        rows = []
        for batch in take(task.batches("heldout"), limit):
            batch = sharding.put_batch(mesh, batch)
            rows.append(evaluate_batch(run_state.ema_params, run_state.extra, batch))
        return mean(rows)

    # -- Loop ----------------------------------------------------------------------------------
    interruption = Interruption()
    log = Log(workdir / "metrics.jsonl", step)
    progress = Progress(f"training {workdir.name}", config.steps, done=step)
    rows, since = [], time.monotonic()
    with jax.set_mesh(mesh):
        while step < config.steps and interruption.exception is None:
            batch = sharding.put_batch(mesh, next(batches))
            run_state, metrics = update(run_state, batch, key)
            rows.append(metrics)
            step += 1
            last = step == config.steps
            if step % config.log_every == 0 or last:
                values = mean(rows)
                check_finite(values["loss"], step)
                elapsed = time.monotonic() - since
                values["learning_rate"] = float(rate(step - 1))
                values["examples_per_s"] = config.data.batch_size * len(rows) / elapsed
                log.write(step, "train", values)
                progress.update(step, f"loss {values['loss']:.4f}")
                rows, since = [], time.monotonic()
            if config.eval_every and step % config.eval_every == 0 and not last:
                log.write(step, "heldout", evaluate(config.eval_batches))
                since = time.monotonic()
            if step % config.checkpoint_every == 0 and not last:
                check_finite(float(metrics["loss"]), step)
                checkpoints.save(step, run_state, batches)

        # -- End ---------------------------------------------------------------------------------
        if step != checkpoints.latest():
            checkpoints.save(step, run_state, batches)
        checkpoints.close()
        interruption.release()
        if interruption.exception is not None:
            print(f"saved at step {step}; the same command goes on", file=sys.stderr)
            log.close()
            raise interruption.exception
        evaluation = evaluate(None)
        log.write(step, "heldout", evaluation)
        heldout = task.finish(run_state.ema_params, run_state.extra, str(workdir), evaluation)
    summary = {
        "task": task.name,
        "steps": step,
        "seconds": round(log.seconds, 2),
        "params": num_params,
        "heldout": heldout,
    }
    log.close()
    bundle.write_json(summary_path, summary)
    return summary


def take(batches: Iterator[dict], limit: int | None) -> Iterator[dict]:
    """The first `limit` batches, or all."""
    for number, batch in enumerate(batches):
        if number == limit:
            return
        yield batch


def main() -> int:
    if CONFIG.value is None or WORKDIR.value is None:
        raise ValueError("--config and --workdir are needed; see --help")
    summary = train(CONFIG.value, Path(WORKDIR.value))
    for name, value in summary["heldout"].items():
        print(f"heldout {name}: {value if not isinstance(value, float) else round(value, 4)}")
    return 0


if __name__ == "__main__":
    cli.run(main, __doc__)
