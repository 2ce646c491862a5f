"""The compiled training step of a program: compiling it, its memory and its time."""

import re
import time
from pathlib import Path

import jax

from jukejax.benches import common, shapes
from jukejax.common.formatting import format_count
from jukejax.runtime import sharding
from jukejax.training import profiling
from jukejax.training.program import Program


def compile_step(program: Program) -> tuple[jax.stages.Compiled, float]:
    """Compiles the training step for the program's devices; returns it and the seconds it took.

    Raises:
      ValueError: the step does not fit; the message has the compiler's figure.
    """
    started_at = time.perf_counter()
    try:
        compiled = program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        message = " ".join(str(error).split())
        if "RESOURCE_EXHAUSTED" not in message:
            raise
        raise ValueError(format_too_large(program, _extract_figure(message))) from error
    return compiled, time.perf_counter() - started_at


def format_too_large(program: Program, reason: str) -> str:
    """Formats the error of a step that does not fit its devices, in one line."""
    shape = " x ".join(f"{axis} {size}" for axis, size in program.mesh.shape.items())
    size = format_count(program.mesh.size, "device")
    return (
        f"the step does not fit {size} ({shape}): {reason} Take more devices, a smaller batch, "
        "more accumulate or mesh.fsdp, or remat 'full'"
    )


def _extract_figure(message: str) -> str:
    """Extracts from a compiler's message the sentences up to the first with a number of bytes."""
    sentences = []
    for sentence in re.split(r"(?<=\.) ", message[max(0, message.find("Ran out of memory")) :]):
        sentences.append(sentence)
        if re.search(r"\d[KMGT]\b", sentence):
            break
    return " ".join(sentences)


def measure_step(
    program: Program, compiled: jax.stages.Compiled, repeat: int, profile: str = ""
) -> float:
    """Returns the seconds of the fastest of `repeat` steps on random data, after a warm-up step.

    Args:
      profile: folder for a trace of as many further steps; "": none.
    """
    key = jax.random.key(0)
    with jax.set_mesh(program.mesh):
        state = program.init(key)
        examples = program.recipe.batch_size
        batch = sharding.put_batch(program.mesh, shapes.random_batch(program.task, examples))

        def run_step() -> None:
            nonlocal state
            state, metrics = compiled(state, batch, key)
            jax.block_until_ready((state, metrics))

        run_step()
        seconds = min(common.time_call(run_step) for _ in range(repeat))
        if profile:
            with profiling.trace_calls(Path(profile)):
                for number in range(1, repeat + 1):
                    with jax.profiler.StepTraceAnnotation("train", step_num=number):
                        run_step()
    return seconds
