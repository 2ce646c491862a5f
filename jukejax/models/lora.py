"""Low-rank adapters of a prior's projections (LoRA, Hu et al., 2021), as trees of parameters.

The trained parameters of an adapted model are a part of its tree: beside each adapted `kernel`
[..., C, D] the factors `lora_a` [..., C, R] and `lora_b` [..., R, D], and the leaves that are
trained as a whole. `Projection` adds the product of the factors to the kernel. The base is all that
is not trained; its kernels may be in eight bits, with a `scale` [..., D].

Letters: C features in, D features out, R rank; stacked layers have a leading axis.
"""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jukejax.common.types import Tree
from jukejax.ops.decode_weights import quantize_int8

KERNEL, FACTOR_A, FACTOR_B, SCALE = "kernel", "lora_a", "lora_b", "scale"
STACKS = {"self_layers", "cross_layers"}  # of `transformer.Transformer`
BASES = ("float32", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Settings of the adapters.

    Attributes:
      rank: R, of every adapter.
      alpha: the product of the factors is multiplied by alpha / rank.
      targets: modules whose kernels get adapters, by any part of their path in the layers.
      train: parameters that are trained as a whole, by any part of their path. Tables with rows for
        new names, and parts that the base does not have, always are.
      base: type of the base in memory; "int8" is that of the transformer's kernels.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attn", "mlp_in", "mlp_out")
    train: tuple[str, ...] = ()
    base: str = "float32"

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"lora.base is {self.base!r}; known: {', '.join(BASES)}")
        if self.rank < 1:
            raise ValueError(f"lora.rank is {self.rank}, must be at least 1")

    @property
    def factor(self) -> float:
        """The factor of the product of `lora_a` and `lora_b`."""
        return self.alpha / self.rank


def find_kernels(names: Iterable[str]) -> list[str]:
    """Returns the names ("a/b/kernel") of the kernels in stacks of layers."""
    return [name for name in sorted(names) if name.endswith(f"/{KERNEL}") and _in_stack(name)]


def _in_stack(name: str) -> bool:
    return bool(STACKS & set(name.split("/")))


def find_targets(config: LoraConfig, names: Collection[str]) -> set[str]:
    """Returns the names of the kernels that get adapters.

    Raises:
      ValueError: an entry of `config.targets` names none.
    """
    return _match("lora.targets", config.targets, find_kernels(names))


def find_whole(
    config: LoraConfig, shapes: Mapping[str, tuple], base_shapes: Mapping[str, tuple]
) -> set[str]:
    """Returns the names of the leaves that are trained as a whole.

    Args:
      shapes: of the model, by name.
      base_shapes: of the base.

    Raises:
      ValueError: an entry of `config.train` names none.
    """
    grown = {name for name, shape in shapes.items() if base_shapes.get(name) != shape}
    return grown | _match("lora.train", config.train, sorted(shapes))


def _match(key: str, words: Iterable[str], names: list[str]) -> set[str]:
    matched = set()
    for word in words:
        of_word = {name for name in names if word in name.split("/")}
        if not of_word:
            known = sorted({part for name in names for part in name.split("/")})
            raise ValueError(
                f"{key} names {word!r}, which is in no path; known: {', '.join(known)}"
            )
        matched |= of_word
    return matched


def init_trained(config: LoraConfig, params: Tree, whole: Collection[str], key: jax.Array) -> Tree:
    """Returns the trained parameters of a new run: adapters whose product is zero, and `whole`.

    Args:
      params: of a prior; leaves may have logical axis names.
      whole: names of the leaves that are trained as a whole.
      key: PRNG key, from which `lora_a` is drawn.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    trained = {name: flat[name] for name in whole}
    for index, name in enumerate(sorted(find_targets(config, flat) - set(whole))):
        factors = _init_factors(flat[name], config.rank, jax.random.fold_in(key, index))
        trained |= {_beside(name, last): factor for last, factor in factors.items()}
    return traverse_util.unflatten_dict(trained, sep="/")


def store_base(config: LoraConfig, params: Tree, whole: Collection[str]) -> Tree:
    """Returns the base in its type in memory; the arguments are those of `init_trained`."""
    flat = traverse_util.flatten_dict(params, sep="/")
    kernels = set(find_kernels(flat))
    base: dict[str, Tree] = {}
    for name in flat.keys() - set(whole):
        base |= _store_leaf(name, flat[name], config.base, is_kernel=name in kernels)
    return traverse_util.unflatten_dict(base, sep="/")


def _beside(name: str, last: str) -> str:
    return f"{name.removesuffix(KERNEL)}{last}"


def _init_factors(kernel: Tree, rank: int, key: jax.Array) -> dict[str, Tree]:
    *layers, features_in, features_out = nn.meta.unbox(kernel).shape
    a = jax.random.normal(key, (*layers, features_in, rank)) / features_in**0.5
    b = jnp.zeros((*layers, rank, features_out))
    names = _axis_names(kernel)
    return {
        FACTOR_A: _box(kernel, a, (*names[:-1], None)),
        FACTOR_B: _box(kernel, b, (*names[:-2], None, *names[-1:])),
    }


def _store_leaf(name: str, leaf: Tree, base: str, *, is_kernel: bool) -> dict[str, Tree]:
    names, array = _axis_names(leaf), nn.meta.unbox(leaf)
    if base == "int8" and is_kernel:
        matrix, scale = quantize_int8(jnp.asarray(array), -2)
        scale_names = (*names[:-2], *names[-1:])
        return {
            name: _box(leaf, matrix, names),
            _beside(name, SCALE): _box(leaf, scale, scale_names),
        }
    dtype = jnp.bfloat16 if base == "bfloat16" else jnp.float32
    return {name: _box(leaf, array.astype(dtype), names)}


def _axis_names(leaf: Tree) -> tuple:
    return tuple(leaf.names) if isinstance(leaf, nn.Partitioned) else ()


def _box(like: Tree, value: jax.Array, names: tuple) -> Tree:
    return like.replace(value=value, names=names) if isinstance(like, nn.Partitioned) else value


def join_params(config: LoraConfig, trained: Tree, base: Tree) -> Tree:
    """Returns the parameters of the adapted model, with `config.factor` in `lora_b`."""
    flat = traverse_util.flatten_dict(base, sep="/")
    kernels = set(find_kernels(flat))
    # Kernels stay in the base's type until their layer; the rest has the type of a plain model.
    joined = {
        name: leaf if name in kernels else leaf.astype(jnp.float32) for name, leaf in flat.items()
    }
    for name, leaf in traverse_util.flatten_dict(trained, sep="/").items():
        joined[name] = leaf * config.factor if name.endswith(f"/{FACTOR_B}") else leaf
    return traverse_util.unflatten_dict(joined, sep="/")


def merge_params(config: LoraConfig, trained: Tree, base: Tree) -> Tree:
    """Returns the parameters of the plain model that computes what the adapted one computes."""
    flat = traverse_util.flatten_dict(join_params(config, trained, base), sep="/")
    merged = {}
    kernels = set(find_kernels(flat))
    beside = {_beside(kernel, last) for kernel in kernels for last in (FACTOR_A, FACTOR_B, SCALE)}
    for name, leaf in flat.items():
        if name in kernels:
            parts = (flat.get(_beside(name, last)) for last in (SCALE, FACTOR_A, FACTOR_B))
            merged[name] = merge_kernel(jnp.asarray(leaf), *parts)
        elif name not in beside:
            merged[name] = jnp.asarray(leaf, jnp.float32)
    return traverse_util.unflatten_dict(merged, sep="/")


@functools.partial(jax.jit, inline=True)
def merge_kernel(
    kernel: jax.Array,
    scale: jax.Array | None,
    lora_a: jax.Array | None,
    lora_b: jax.Array | None,
) -> jax.Array:
    """Computes kernel * scale + lora_a @ lora_b in float32; None leaves a term out."""
    merged = kernel.astype(jnp.float32)
    if scale is not None:
        merged *= scale[..., None, :]
    if lora_a is not None and lora_b is not None:
        merged += jnp.matmul(lora_a, lora_b, precision=jax.lax.Precision.HIGHEST)
    return merged
