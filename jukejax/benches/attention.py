"""Sparse against dense: attention layers by length, kind and backend, and their exponents.

python -m jukejax.bench attention
python -m jukejax.bench attention --seq_lens=8192 --kinds=pattern,dense3
python -m jukejax.bench attention --plot=attention.png --json
python -m jukejax.bench attention --pictures=docs/attention
python -m jukejax.bench attention --config=upsampler --dtype=bfloat16 --backend=pallas --aot=h200:1

A layer is the model's: projections, attention, projection. `pattern` is kinds 1, 2 and 3 in a row,
`dense3` three dense layers. The grid of a length is the power of two next to its square root from
below, so that rows and columns grow with the square root; --num_blocks fixes it. Memory is the
compiler's figure for arguments, results and temporaries together. What would not fit or take longer
than --longest is left out, and says so. With --aot nothing is run: layers are compiled for a device
elsewhere (launch/aot_check.sh fetches the compilers).
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from jukejax.benches import attention_conclusions, common
from jukejax.runtime import platform_flags

LENGTHS = tuple(2**power for power in range(9, 18))
KINDS = {
    "1": (1,),
    "2": (2,),
    "3": (3,),
    "pattern": (1, 2, 3),
    "dense": (0,),
    "dense3": (0, 0, 0),
    "prime": (7,),
}
# The share of a device's memory that a run may need. Processes on CPUs keep what they free
# (platform_flags.keep_memory): one held 2.2 times the compiler's figure.
ROOM, CPU_ROOM = 0.7, 0.35
DIRECTIONS = {"forward": 1, "forward+backward": 3}  # and how much work each is


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config",
        "",
        "Take width, heads, length and rows of this shape of bench.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "seq_lens", [], f"Lengths; default: {LENGTHS[0]} to {LENGTHS[-1]}.", flag_values=values
    )
    flags.DEFINE_list(
        "kinds", ["1", "2", "3", "pattern", "dense", "dense3"], ", ".join(KINDS), flag_values=values
    )
    flags.DEFINE_integer(
        "width", 256, "Of the model; attention has a quarter of it.", 4, flag_values=values
    )
    flags.DEFINE_integer("num_heads", 4, "Attention heads.", 1, flag_values=values)
    flags.DEFINE_integer(
        "num_blocks", 0, "Rows of the grid; 0: near the square root.", 0, flag_values=values
    )
    flags.DEFINE_integer(
        "lyric_len", 384, "Lyric tokens that `prime` may see.", 1, flag_values=values
    )
    flags.DEFINE_integer("batch", 1, "Sequences side by side.", 1, flag_values=values)
    flags.DEFINE_string(
        "dtype", "", "float32, bfloat16 or float16; default: the device's.", flag_values=values
    )
    flags.DEFINE_string("backend", "auto", "How kinds 1, 2, 3 and 7 attend.", flag_values=values)
    flags.DEFINE_string("dense_backend", "auto", "How kind 0 attends.", flag_values=values)
    flags.DEFINE_integer(
        "repeat", 15, "Timed runs at most; their median counts.", 1, flag_values=values
    )
    flags.DEFINE_float(
        "longest",
        20.0,
        "Seconds that one run may take, by the last length's.",
        0.1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "plot", "", "Draw time and memory against length into this PNG.", flag_values=values
    )
    flags.DEFINE_string(
        "pictures", "", "Only draw what each kind sees, into this folder.", flag_values=values
    )
    flags.DEFINE_string(
        "aot", "", "Only compile, for one such device: h200:1, v100:1, v5e:2x2.", flag_values=values
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """Layers of one kind or pattern, at one length."""

    kind: str
    seq_len: int
    width: int
    num_heads: int
    num_blocks: int
    lyric_len: int
    batch: int
    dtype: str
    backend: str

    @property
    def head_dim(self) -> int:
        return self.width // 4 // self.num_heads

    @property
    def score_bytes(self) -> int:
        """All scores of one dense layer, in float32; 0 where there is none."""
        return (0 in KINDS[self.kind]) * 4 * self.batch * self.num_heads * self.seq_len**2

    def pairs(self, useful: bool) -> float:
        """Queries x keys that all layers multiply, or only those that are seen."""
        time, rows = self.seq_len, self.num_blocks
        row = time // rows
        prime = (self.lyric_len // rows + 1) * rows
        seen = {
            0: (time * time, time * (time + 1) / 2),
            1: (time * row, time * (row + 1) / 2),
            2: (time * rows, time * (rows + 1) / 2),
            3: ((time - row) * row, (time - row) * row),
            7: (time * prime, prime * (prime + 1) / 2 + (time - prime) * prime),
        }
        return float(sum(seen[kind][useful] for kind in KINDS[self.kind]))

    def flops(self, direction: str, useful: bool = False) -> float:
        """Of products: queries with keys, probabilities with values, and projections."""
        inner = self.width // 4
        projections = len(KINDS[self.kind]) * self.seq_len * 4 * self.width * inner
        macs = 2 * self.pairs(useful) * inner + projections
        return 2.0 * self.batch * macs * DIRECTIONS[direction]


def rows(values: flags.FlagValues) -> Iterator[dict]:
    """A row for each length, kind and direction; then exponents, ratios and crossovers."""
    for name in values.kinds:
        if name not in KINDS:
            raise ValueError(f"--kinds has {name!r}; known: {', '.join(KINDS)}")
    if values.pictures:
        from jukejax.benches import attention_pictures

        for path in attention_pictures.draw(Path(values.pictures)):
            yield common.row("attention", f"drew {path}")
        return
    if values.aot:
        yield from compiled_elsewhere(values)
        return
    platform_flags.keep_memory()  # as training does
    named = list(cases(values, values.dtype))
    platform_flags.set_defaults(named[0].width, max(case.seq_len for case in named))
    from jukejax.runtime.precision import default_dtype

    found: list[dict] = []
    for case in named:
        case = dataclasses.replace(case, dtype=case.dtype or default_dtype())
        for direction in DIRECTIONS:
            line = measured(values, case, direction, found)
            found.append(line)
            yield line
    yield from attention_conclusions.conclusions(found)
    if values.plot:
        from jukejax.benches import attention_plot

        attention_plot.draw(Path(values.plot), found)


def cases(values: flags.FlagValues, dtype: str) -> Iterator[Case]:
    """What the flags name, lengths outside, so that a kind's last length is known."""
    width, heads, blocks = values.width, values.num_heads, values.num_blocks
    lengths = [int(text) for text in values.seq_lens]
    if values.config:
        from jukejax.benches.shapes import TRANSFORMERS

        if values.config not in TRANSFORMERS:
            known = ", ".join(TRANSFORMERS)
            raise ValueError(f"--config={values.config!r} is none of {known}")
        shape = TRANSFORMERS[values.config]
        width, heads, blocks = shape["emb_dim"], shape["num_heads"], shape["num_blocks"]
        lengths = lengths or [shape["seq_len"]]
    if not lengths:
        lengths = [8192] if values.aot else list(LENGTHS)
    for length in sorted(lengths):
        for kind in values.kinds:
            dense = kind.startswith("dense")
            yield Case(
                kind=kind,
                seq_len=length,
                width=width,
                num_heads=heads,
                num_blocks=blocks or 2 ** int(math.log2(length) / 2),
                lyric_len=values.lyric_len,
                batch=values.batch,
                dtype=dtype,
                backend=values.dense_backend if dense else values.backend,
            )


def program(case: Case, direction: str, sharding=None):
    """(lowered program, shapes of its arguments): the layers one after the other."""
    import jax
    from flax import linen as nn

    from jukejax.models.block import Attention, TransformerConfig
    from jukejax.ops.attention.kinds import AttentionKind
    from jukejax.runtime import precision

    config = TransformerConfig(
        emb_dim=case.width,
        num_layers=1,
        num_heads=case.num_heads,
        seq_len=case.seq_len,
        num_blocks=case.num_blocks,
        lyric_len=case.lyric_len,
        attention=case.backend,
    )
    dtype = precision.compute_dtype(case.dtype)
    layers = [Attention(config, AttentionKind(kind), parent=None) for kind in KINDS[case.kind]]
    x = jax.ShapeDtypeStruct((case.batch, case.seq_len, case.width), dtype, sharding=sharding)

    def place(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding)

    key = jax.eval_shape(lambda: jax.random.key(0))  # traced: a described device draws nothing
    shapes = [nn.meta.unbox(jax.eval_shape(layer.init, key, x)) for layer in layers]
    params = jax.tree.map(place, shapes)

    def forward(params, x):
        for layer, own in zip(layers, params, strict=True):
            x = x + layer.apply(own, x)[0]
        return x

    def both(params, x):
        out, pullback = jax.vjp(forward, params, x)
        return pullback(out)

    function = forward if direction == "forward" else both
    return jax.jit(function).lower(params, x), (params, x)


def compile_case(case: Case, direction: str, sharding=None):
    """(compiled program, shapes of its arguments, seconds, bytes that it needs)."""
    from jukejax.benches.aot import step as aot

    begun = time.perf_counter()
    lowered, shapes = program(case, direction, sharding)
    compiled = lowered.compile()
    seconds = time.perf_counter() - begun
    return compiled, shapes, seconds, aot.bytes_needed(compiled)


def measured(values, case: Case, direction: str, before: list[dict]) -> dict:
    """One row; without a time if the layers would not fit or take too long."""
    import jax
    import numpy as np

    from jukejax.runtime import devices, memory

    expected = expected_seconds(case, direction, before)
    if expected is not None and expected > values.longest:
        return line(case, direction, f"left out: about {expected:.0f} s a run")
    compiled, shapes, compile_seconds, need = compile_case(case, direction)
    told = dict(compile_seconds=compile_seconds, peak_memory_bytes=need)
    room = memory.memory_of(jax.devices()[0])
    # NOTE: XLA on CPUs holds scores that the compiler's figure does not count: of one dense
    # layer of 16,384 positions, forward, it says 0.9 GB and the process held 7.4.
    on_cpu = jax.default_backend() == "cpu"
    held = max(need, 2 * case.score_bytes) if on_cpu else need
    if room and held > room * (CPU_ROOM if on_cpu else ROOM):
        return line(case, direction, f"left out: needs {held / 1e9:.0f} GB", **told)
    random = np.random.default_rng(0)
    given = jax.tree.map(
        lambda leaf: jax.device_put(0.02 * random.standard_normal(leaf.shape)).astype(leaf.dtype),
        shapes,
    )

    platform_flags.release_memory()

    def run() -> float:
        return common.timed(lambda: jax.block_until_ready(compiled(*given)))

    run()
    times = [run()]
    # Three at least: a median of one is whatever else the machine did then.
    while len(times) < values.repeat and (len(times) < 3 or sum(times) < values.longest / 4):
        times.append(run())
    low, seconds, high = (float(x) for x in np.quantile(times, (0.25, 0.5, 0.75)))
    done = case.flops(direction) / seconds
    peak = devices.peak_flops(jax.devices()[0].device_kind, case.dtype)
    return line(
        case,
        direction,
        "attention",
        seconds=seconds,
        spread=(high - low) / seconds,
        tflops=done / 1e12,
        tflops_useful=case.flops(direction, useful=True) / seconds / 1e12,
        peak_share=done / peak if peak else None,
        **told,
    )


def expected_seconds(case: Case, direction: str, before: list[dict]) -> float | None:
    """By the last measured length and the products that each needs."""
    for one in reversed(before):
        if (one["kind"], one["direction"]) == (case.kind, direction) and one["seconds"]:
            shorter = dataclasses.replace(
                case, seq_len=one["seq_len"], num_blocks=one["num_blocks"]
            )
            return one["seconds"] * case.flops(direction) / shorter.flops(direction)
    return None


def line(case: Case, direction: str, what: str, **fields) -> dict:
    """A row with every field of the contract, null where there is nothing to say."""
    names = ("seconds", "spread", "compile_seconds", "peak_memory_bytes")
    figures = dict.fromkeys((*names, "tflops", "tflops_useful", "peak_share")) | fields
    return common.row(
        "attention",
        what,
        config=f"{case.width}x{case.num_heads}",
        device=figures.pop("device", None) or common.device(),
        kind=case.kind,
        direction=direction,
        seq_len=case.seq_len,
        width=case.width,
        num_heads=case.num_heads,
        num_blocks=case.num_blocks,
        batch=case.batch,
        dtype=case.dtype,
        backend=case.backend,
        **figures,
    )


# -- Elsewhere ---------------------------------------------------------------------------------


def compiled_elsewhere(values: flags.FlagValues) -> Iterator[dict]:
    """Rows of layers that are compiled for a device of the kind that --aot names."""
    from jukejax.benches.aot import topologies

    topology = topologies.parse(values.aot)
    topologies.prepare(topology)
    with topologies.quiet():
        import jax
    import numpy as np

    device = topologies.devices(topology)[0]
    mesh = jax.sharding.Mesh(np.array([device]), ("one",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    dtype = values.dtype or ("float16" if topology.kind == "v100" else "bfloat16")
    with jax.set_mesh(mesh):
        for case in cases(values, dtype):
            for direction in DIRECTIONS:
                compiled, _, seconds, need = compile_case(case, direction, sharding)
                text = compiled.as_text()
                yield line(
                    case,
                    direction,
                    "compiled only",
                    device=str(topology),
                    compile_seconds=seconds,
                    peak_memory_bytes=need,
                    kernels=sum(
                        name in one
                        for one in text.splitlines()
                        for name in ("tpu_custom_call", "__gpu$xla.gpu.triton")
                    ),
                )
