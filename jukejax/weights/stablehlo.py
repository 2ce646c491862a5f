"""Models as StableHLO: functions serialized by `jax.export`, for use without this package.

Weights are stored separately, in safetensors, and are the first argument of each function. All
other arguments and results are arrays, lists and dictionaries:

    weights = safetensors.numpy.load_file("vqvae/weights.safetensors")
    encode = jax.export.deserialize(open("vqvae/encode.stablehlo", "rb").read())
    codes = encode.call(weights, audio)

Dimensions: B batch, T seq_len, S positions of the model's sequence, E emb_dim, V codebook_size.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.models import decoding
from jukejax.models.autoregressive import Conditions
from jukejax.models.decoding import DecodeWeights
from jukejax.models.prior import Prior, build_sequence
from jukejax.models.prior_config import PriorConfig
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops.cache import Cache
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.weights import bundle

PLATFORMS = ("cpu", "cuda", "tpu")

Weights = Mapping[str, Any]  # arrays or tracers, by names joined by slashes
Functions = dict[str, tuple[Callable, tuple]]  # by name, with shapes of arguments


def write_functions(folder: Path, weights: Mapping[str, np.ndarray], functions: Functions) -> None:
    """Writes weights.safetensors, NAME.stablehlo for each function, and signatures.json."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / "weights.safetensors")
    signatures = {}
    for name, (function, arguments) in functions.items():
        content = serialize_function(function, weights, arguments)
        (folder / f"{name}.stablehlo").write_bytes(content)
        signatures[name] = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", arguments)
    files.write_json(folder / "signatures.json", signatures)


def serialize_function(
    function: Callable, weights: Mapping[str, np.ndarray], arguments: tuple
) -> bytes:
    """Serializes a function for all PLATFORMS.

    Args:
      function: function of weights by name and `arguments`.
      weights, arguments: trees whose leaves have .shape and .dtype.
    """
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (dict(weights), *arguments)
    )
    with disable_cpu_kernels():
        exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)
    return bytes(exported.serialize())


# -- VQ-VAE ------------------------------------------------------------------------------------


def vqvae_functions(config: VQVAEConfig, *, samples: int, batch: int) -> Functions:
    """Returns the functions of a VQ-VAE: `encode` and `decode_level_0`, 1, 2.

    Args:
      samples: of the audio of one call.
      batch: B.
    """
    audio = jax.ShapeDtypeStruct((batch, samples, config.channels), jnp.float32)
    functions: Functions = {"encode": (functools.partial(_encode, config), (audio,))}
    for level, hop in enumerate(config.hops):
        decode = functools.partial(_decode, config, level)
        functions[f"decode_level_{level}"] = (decode, (_codes_shape(batch, samples // hop),))
    return functions


def _encode(config: VQVAEConfig, weights: Weights, audio: jax.Array) -> list[jax.Array]:
    """Encodes float32 [B, samples, channels] to int32 [B, samples // hop] of each level."""
    variables = _vqvae_variables(weights)
    return list(VQVAE(config).apply(variables, audio, method=VQVAE.encode))


def _decode(config: VQVAEConfig, level: int, weights: Weights, codes: jax.Array) -> jax.Array:
    """Decodes int32 [B, codes] of one level to float32 [B, codes * hop, channels]."""
    variables = _vqvae_variables(weights)
    return cast(jax.Array, VQVAE(config).apply(variables, codes, level, method=VQVAE.decode))


def _vqvae_variables(weights: Weights) -> Tree:
    tree = bundle.unflatten_weights(weights)
    return {"params": tree["params"], "codebook": tree.get("extra", {})}


# -- Priors ------------------------------------------------------------------------------------


def prior_weights(config: PriorConfig, params: Tree, dtype: jnp.dtype) -> dict[str, np.ndarray]:
    """Casts a prior's parameters and lays them out for decoding, by name; layers are not stacked.

    Kernels are [in, out], as for TPUs: the number of CPU cores, on which the layout for CPUs
    depends, is unknown at the export.
    """
    decode = decoding.prepare_decode_weights(
        config.autoregressive, params["autoregressive"], dtype, platform="tpu"
    )
    layers = {str(i): layer for i, layer in enumerate(decode.layers)}
    conditioners = {name: value for name, value in params.items() if name != "autoregressive"}
    tree = {"conditioners": conditioners, "outer": decode.outer, "layers": layers}
    return bundle.flatten_weights(tree)


class PriorFunctions:
    """Defines the functions `start` and `step` for one window of a prior.

    A window has S positions: the lyrics, if they are part of the model's sequence, and T codes. The
    state between steps consists of dictionaries, lists and arrays.
    """

    def __init__(self, config: PriorConfig):
        self.config = config

    def start(
        self, weights: Weights, inputs: dict[str, jax.Array], codes: jax.Array, length: jax.Array
    ) -> tuple[dict, jax.Array]:
        """Returns the state after `length` codes, and the window's tokens, int32 [B, S].

        Args:
          inputs: conditions of the model: "upper_codes", "labels".
          codes: int32 [B, T].
          length: int32, number of codes in the prefix.
        """
        tree = bundle.unflatten_weights(weights)
        decode = _unpack_decode_weights(tree)
        params = {"params": tree.get("conditioners", {})}
        arrays = (inputs.get("upper_codes"), inputs.get("labels"))
        prior = Prior(self.config, decode.dtype)
        conditions = cast(Conditions, prior.apply(params, *arrays, method=Prior.compute_conditions))
        tokens = build_sequence(self.config, codes, inputs.get("labels"))
        positions = self.config.lyric_prefix + length
        caches = decoding.prefill_caches(
            self.config.autoregressive, decode, tokens, conditions, positions
        )
        return _pack_state(conditions, caches), tokens

    def step(
        self, weights: Weights, state: dict, previous: jax.Array, position: jax.Array
    ) -> tuple[jax.Array, dict]:
        """Returns the logits of `position`, float32 [B, V], and the new state.

        Args:
          previous: int32 [B], the token before `position`; with `lookback` [B, 1 + its length],
            also the tokens at its distances.
          position: int32.
        """
        conditions = Conditions(**state["conditions"])
        caches = tuple(Cache(*arrays) for arrays in state["caches"])
        decode = _unpack_decode_weights(bundle.unflatten_weights(weights))
        logits, caches = decoding.decode_step(
            self.config.autoregressive, decode, caches, previous, conditions, position
        )
        return logits, _pack_state(conditions, caches)


def prior_functions(
    config: PriorConfig, weights: Mapping[str, np.ndarray], *, batch: int
) -> Functions:
    """Returns the functions of `PriorFunctions` with the shapes of their arguments.

    Args:
      weights: of `prior_weights`.
      batch: B.
    """
    functions = PriorFunctions(config)
    inputs = {}
    if config.upper is not None:
        inputs["upper_codes"] = _codes_shape(batch, *config.upper.find_shape(config.seq_len))
    if config.labels is not None:
        inputs["labels"] = _codes_shape(batch, config.label_width)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    arguments = (inputs, _codes_shape(batch, config.seq_len), number)
    state, _ = jax.eval_shape(functions.start, weights, *arguments)
    extra = (1 + len(config.lookback),) if config.lookback else ()
    previous = jax.ShapeDtypeStruct((batch, *extra), jnp.int32)
    return {
        "start": (functions.start, arguments),
        "step": (functions.step, (state, previous, number)),
    }


def _unpack_decode_weights(tree: Tree) -> DecodeWeights:
    layers = tuple(tree["layers"][str(i)] for i in range(len(tree["layers"])))
    return DecodeWeights(tree["outer"], layers)


def _pack_state(conditions: Conditions, caches: tuple[Cache, ...]) -> dict:
    fields = {name: value for name, value in conditions._asdict().items() if value is not None}
    return {"conditions": fields, "caches": [list(cache) for cache in caches]}


def _codes_shape(batch: int, length: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, length), jnp.int32)
