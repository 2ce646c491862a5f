"""Models as StableHLO: functions that `jax.export` serialises, which run without this package.

Weights stay beside the functions, in safetensors, and are the first argument of each. All other
arguments and results are arrays, lists and dictionaries:

    weights = safetensors.numpy.load_file("vqvae/weights.safetensors")
    encode = jax.export.deserialize(open("vqvae/encode.stablehlo", "rb").read())
    codes = encode.call(weights, audio)

Dimensions: B batch, T seq_len, E emb_dim, V codebook_size.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.models import autoregressive
from jukejax.models.autoregressive import Conditions, DecodeWeights
from jukejax.models.prior import Prior, PriorConfig, sequence
from jukejax.models.vqvae import VQVAE, VQVAEConfig
from jukejax.ops.cache import Cache
from jukejax.ops.cpu import library as compiled
from jukejax.weights import bundle

PLATFORMS = ("cpu", "cuda", "tpu")
Functions = dict[str, tuple[Callable, tuple]]


def serialise(function: Callable, weights: dict[str, np.ndarray], arguments: tuple) -> bytes:
    """A function for all PLATFORMS; `arguments` are shapes (anything with .shape and .dtype)."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    told = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in weights.items()}
    with compiled.left_out():
        exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(told, *shapes)
    return bytes(exported.serialize())


def _codes(batch: int, length: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, length), jnp.int32)


def vqvae_functions(config: VQVAEConfig, *, samples: int, batch: int) -> Functions:
    """`encode`: audio float32 [B, samples, channels] to codes of all levels, a list of int32
    [B, samples // hop]; `decode_level_k`: those of one level back to audio."""

    def variables(weights: dict) -> Tree:
        tree = bundle.unflatten(weights)
        return {"params": tree["params"], "codebook": tree.get("extra", {})}

    def encode(weights, audio):
        return list(VQVAE(config).apply(variables(weights), audio, method=VQVAE.encode))

    def decode(level, weights, codes):
        return VQVAE(config).apply(variables(weights), codes, level, method=VQVAE.decode)

    audio = jax.ShapeDtypeStruct((batch, samples, config.channels), jnp.float32)
    functions: Functions = {"encode": (encode, (audio,))}
    for level, hop in enumerate(config.hops):
        told = (_codes(batch, samples // hop),)
        functions[f"decode_level_{level}"] = (functools.partial(decode, level), told)
    return functions


def prior_weights(config: PriorConfig, params: Tree, dtype: jnp.dtype) -> dict[str, np.ndarray]:
    """A prior's parameters cast and laid out for decoding, by name; layers lie apart.

    Kernels stay [in, out], as for TPUs: a file that runs anywhere cannot know how many cores there
    will be.
    """
    decode = autoregressive.decode_weights(
        config.autoregressive, params["autoregressive"], dtype, platform="tpu"
    )
    layers = {str(i): layer for i, layer in enumerate(decode.layers)}
    others = {name: part for name, part in params.items() if name != "autoregressive"}
    tree = {"conditioners": others, "outer": decode.outer, "layers": layers}
    return bundle.flatten(tree)


def _decode_weights(tree: Tree) -> DecodeWeights:
    layers = tuple(tree["layers"][str(i)] for i in range(len(tree["layers"])))
    return DecodeWeights(tree["outer"], layers)


def prior_functions(
    config: PriorConfig, weights: dict[str, np.ndarray], *, batch: int
) -> Functions:
    """`start` and `step` of one window, which holds S positions: the lyrics, if the model reads
    them in its sequence, and T codes.

    start(weights, told, codes int32 [B, T], length int32): (the state after `length` codes, the
      window as the model reads it, int32 [B, S]). `told` is a dictionary of what the model is
      conditioned on: "upper_codes", "labels".
    step(weights, state, previous int32 [B], position int32): (logits float32 [B, V] of `position`,
      given what stands before it, and the new state). The state is made of dictionaries, lists
      and arrays.
    """

    def pack(conditions: Conditions, caches: tuple[Cache, ...]) -> dict:
        told = {k: v for k, v in conditions._asdict().items() if v is not None}
        return {"conditions": told, "caches": [list(cache) for cache in caches]}

    def start(weights, told, codes, length):
        tree = bundle.unflatten(weights)
        decode = _decode_weights(tree)
        model = Prior(config, decode.dtype)
        params = {"params": tree.get("conditioners", {})}
        conditions = model.apply(params, **told, method=Prior.conditions)
        tokens = sequence(config, codes, told.get("labels"))
        caches = autoregressive.prefill(
            config.autoregressive, decode, tokens, conditions, config.lyric_prefix + length
        )
        return pack(conditions, caches), tokens

    def step(weights, state, previous, position):
        conditions = Conditions(**state["conditions"])
        caches = tuple(Cache(*pair) for pair in state["caches"])
        decode = _decode_weights(bundle.unflatten(weights))
        logits, caches = autoregressive.step(
            config.autoregressive, decode, caches, previous, conditions, position
        )
        return logits, pack(conditions, caches)

    told = {}
    if config.upper is not None:
        told["upper_codes"] = _codes(batch, config.seq_len // config.upper.ratio)
    if config.labels is not None:
        told["labels"] = _codes(batch, config.label_width)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    arguments = (told, _codes(batch, config.seq_len), number)
    state, _ = jax.eval_shape(start, weights, *arguments)
    previous = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return {"start": (start, arguments), "step": (step, (state, previous, number))}


def write(folder: Path, weights: dict[str, np.ndarray], functions: Functions) -> None:
    """weights.safetensors, NAME.stablehlo for each function, and signatures.json."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "weights.safetensors")
    signatures = {}
    for name, (function, arguments) in functions.items():
        (folder / f"{name}.stablehlo").write_bytes(serialise(function, weights, arguments))
        signatures[name] = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", arguments)
    files.write_json(folder / "signatures.json", signatures)
