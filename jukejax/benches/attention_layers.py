"""Attention layers to time or to compile: shapes, work and program."""

import dataclasses
import time
from typing import NamedTuple

import jax
from flax import linen as nn

from jukejax.common.types import Tree
from jukejax.models.block import Attention
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.runtime import precision

KINDS = {
    "1": (1,),
    "2": (2,),
    "3": (3,),
    "pattern": (1, 2, 3),
    "dense": (0,),
    "dense3": (0, 0, 0),
    "prime": (7,),
}
DIRECTIONS = {"forward": 1, "forward+backward": 3}  # and how much work each is


@dataclasses.dataclass(frozen=True)
class AttentionCase:
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
        """Bytes of all scores of one dense layer in float32; 0 without a dense layer."""
        return (0 in KINDS[self.kind]) * 4 * self.batch * self.num_heads * self.seq_len**2

    def count_pairs(self, useful: bool) -> float:
        """Counts the pairs of queries and keys of all layers, or only the visible ones."""
        length, rows = self.seq_len, self.num_blocks
        row = length // rows
        prime = (self.lyric_len // rows + 1) * rows
        pairs = {  # (multiplied, visible)
            0: (length * length, length * (length + 1) / 2),
            1: (length * row, length * (row + 1) / 2),
            2: (length * rows, length * (rows + 1) / 2),
            3: ((length - row) * row, (length - row) * row),
            7: (length * prime, prime * (prime + 1) / 2 + (length - prime) * prime),
        }
        return float(sum(pairs[kind][useful] for kind in KINDS[self.kind]))

    def count_flops(self, direction: str, useful: bool = False) -> float:
        """Counts products of queries and keys, probabilities and values, and projections."""
        inner = self.width // 4
        projections = len(KINDS[self.kind]) * self.seq_len * 4 * self.width * inner
        macs = 2 * self.count_pairs(useful) * inner + projections
        return 2.0 * self.batch * macs * DIRECTIONS[direction]


class AttentionProgram(NamedTuple):
    """A compiled program, the shapes of its arguments, and the seconds of compiling."""

    compiled: jax.stages.Compiled
    arguments: Tree
    compile_seconds: float


def compile_case(
    case: AttentionCase, direction: str, sharding: jax.sharding.Sharding | None = None
) -> AttentionProgram:
    """Compiles the layers in sequence, for a described device if its sharding is given."""
    started_at = time.perf_counter()
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
    key = jax.eval_shape(lambda: jax.random.key(0))  # traced, as a described device cannot sample
    shapes = [nn.meta.unbox(jax.eval_shape(layer.init, key, x)) for layer in layers]
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding), shapes
    )

    def forward(params: Tree, x: jax.Array) -> jax.Array:
        for layer, layer_params in zip(layers, params, strict=True):
            x = x + layer.apply(layer_params, x)[0]
        return x

    def forward_and_backward(params: Tree, x: jax.Array) -> tuple[Tree, jax.Array]:
        out, pullback = jax.vjp(forward, params, x)
        return pullback(out)

    function = forward if direction == "forward" else forward_and_backward
    compiled = jax.jit(function).lower(params, x).compile()
    return AttentionProgram(compiled, (params, x), time.perf_counter() - started_at)
