"""Initialization of a run with trained weights (`config.init_from`, see `pretrained`).

The weights (of a workdir the averaged ones) and the codebooks are used; the optimizer, the averages
and the schedule are initialized as in a new run.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jukejax.common.types import Tree
from jukejax.data import vocabularies
from jukejax.ops import quantize
from jukejax.runtime import distributed, sharding
from jukejax.training import pretrained, state
from jukejax.training.program import Program
from jukejax.training.task import Task
from jukejax.weights import bundle, loading
from jukejax.weights.codec_identity import compare_codecs

GRID_TABLES = {"tempo", "key", "bar", "phrase", "section", "turn"}
NOISE = 0.1  # standard deviation of the noise of new rows, relative to that of their table


def load_state(config: ConfigDict, program: Program, key: jax.Array) -> state.TrainState | None:
    """Loads the weights of `config.init_from` into the sharded state of a new run.

    Args:
      key: PRNG key of the run, from which the noise of new rows is drawn.

    Returns:
      None without `init_from`.

    Raises:
      ValueError: the folder has no such model, or its weights do not fit its config.
    """
    path = config.get("init_from")
    if not path:
        return None
    params, extra = load_weights(config, program, key)

    def start(params: Tree, extra: Tree) -> state.TrainState:
        return sharding.unbox(state.start_state(program.recipe, params, extra))

    run_state = jax.jit(start, out_shardings=program.shardings, donate_argnums=1)(params, extra)
    if distributed.is_writer():
        license_name = pretrained.describe_origin(config)["init_from"].get("license")
        note = f" (license of its weights: {license_name})" if license_name else ""
        print(f"starting from {path}{note}", file=sys.stderr)
    return run_state


def load_weights(config: ConfigDict, program: Program, key: jax.Array) -> tuple[Tree, Tree]:
    """Loads the sharded (params, extra) of a new run from `config.init_from`, which is set.

    The arguments and the errors are those of `load_state`.
    """
    path, task = config.init_from, program.task
    trained, weights = loading.load_model(path, pretrained.name_trained_part(config))
    description = task.describe()
    _warn_of_other_codes(path, trained, description)
    params = weights["params"]
    target, shardings = program.target, program.shardings
    shapes = jax.eval_shape(task.join_weights, target.params, target.extra)
    if "label_conditioner" in params:
        params = grow_tables(params, trained["vocabulary"], description, key)
        params = add_grid_tables(params, shapes)
    params = add_reference(params, shapes, task, key)
    extra = weights["extra"]
    if config.task == "vqvae":
        samples = config.data.batch_size * config.data.window
        extra = expect_equal_usage(extra, [samples // hop for hop in description["hops"]])
    params, extra = task.split_weights(params, extra, key)
    params = _place(path, "params", params, target.params, shardings.params)
    return params, _place(path, "extra", extra, target.extra, shardings.extra)


def grow_tables(params: Tree, vocabulary: Mapping, description: Mapping, key: jax.Array) -> Tree:
    """Adds rows to the label tables for the names that are missing in the trained model.

    A new row is the mean of the existing rows plus noise (see `NOISE`).

    Args:
      params: of a labeled prior, host arrays; label tables are [names, emb_dim].
      vocabulary: of the trained model.
      description: of the run's model.
    """
    old_names, new_names = map(
        vocabularies.parse_vocabulary, (vocabulary, description["vocabulary"])
    )
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    tables = dict(params["label_conditioner"])
    for kind in ("artist", "genre"):
        old = np.asarray(tables[kind], np.float32)
        rows = description["config"]["labels"][f"num_{kind}s"]
        old_ids, new_ids = (
            vocabularies.used_ids(getattr(names, f"{kind}s")) for names in (old_names, new_names)
        )
        added = sorted((new_ids - old_ids) | set(range(len(old), rows)))
        table = np.zeros((rows, old.shape[1]), np.float32)
        table[: len(old)] = old
        noise = generator.standard_normal((len(added), old.shape[1])).astype(np.float32)
        table[added] = old.mean(axis=0) + NOISE * old.std() * noise
        tables[kind] = table
    return dict(params, label_conditioner=tables)


def add_grid_tables(params: Tree, target: Tree) -> Tree:
    """Adds the tables of `GRID_TABLES` that the trained model does not have.

    They are zero, so that the model starts with the loss that it was trained to.

    Args:
      params: of a labeled prior, host arrays.
      target: shapes of the run's model.
    """
    tables = dict(params["label_conditioner"])
    for name in GRID_TABLES & target["label_conditioner"].keys() - tables.keys():
        tables[name] = np.zeros(target["label_conditioner"][name].shape, np.float32)
    return dict(params, label_conditioner=tables)


def add_reference(params: Tree, target: Tree, task: Task, key: jax.Array) -> Tree:
    """Adds the conditioner on a reference that the trained model does not have, as initialized.

    It starts at zero, so that the model starts with the loss that it was trained to.

    Args:
      params: host arrays.
      target: shapes of the run's model.
      task: of the run.
      key: PRNG key of the run.
    """
    name, part = "code_conditioner", "reference"
    if part not in target.get(name, {}) or part in params.get(name, {}):
        return params

    @jax.jit  # computes this part alone, not a second model
    def initialize(key: jax.Array) -> Tree:
        initial = task.join_weights(*sharding.unbox(task.init_params(key)))
        return initial[name][part]

    return dict(params, code_conditioner=dict(params[name], reference=initialize(key)))


def expect_equal_usage(codebooks: Tree, num_rows: Sequence[int]) -> Tree:
    """Gives codebooks without moving averages those of codes that are used equally.

    Checkpoints of OpenAI's layout have code vectors only, which `convert` stores with counts of 1:
    the codes that the first batch does not use would restart at once. As in OpenAI's code, they
    start with their share of a batch. Other codebooks are not changed.

    Args:
      codebooks: of a VQ-VAE, host arrays: {"codebooks_LEVEL": fields of `quantize.Codebook`}.
      num_rows: of a batch, by level.
    """
    restored = {}
    for level, rows in enumerate(num_rows[: len(codebooks)]):
        name = f"codebooks_{level}"
        leaves = codebooks[name]
        vectors = leaves["codebook"]
        if np.all(leaves["codebook_count"] == 1.0) and np.all(leaves["codebook_sum"] == vectors):
            state = quantize.restore_codebook(jnp.asarray(vectors), num_tokens=rows)
            leaves = {field: np.asarray(leaf) for field, leaf in state._asdict().items()}
        restored[name] = leaves
    return restored


def _warn_of_other_codes(path: str, trained: Mapping, description: Mapping) -> None:
    same = compare_codecs(trained.get("vqvae"), description.get("vqvae"))
    if same is False and distributed.is_writer():
        print(
            f"warning: {path} was trained on codes of another VQ-VAE than those of data.folder; "
            "run encode with its own VQ-VAE if the codes shall have the same meaning",
            file=sys.stderr,
        )


def _place(path: str, collection: str, tree: Tree, target: Tree, shardings: Tree) -> Tree:
    """Converts host arrays to sharded arrays; each process copies its own shards only."""
    arrays, leaves = bundle.flatten_weights(tree), _flatten_shapes(target)
    for name in sorted(arrays.keys() ^ leaves.keys()):
        verb = "lacks" if name in leaves else "holds"
        raise ValueError(
            f"config.init_from={path} {verb} {collection}/{name}, unlike this run's model; export "
            "it again"
        )
    for name, leaf in leaves.items():
        if arrays[name].shape != leaf.shape:
            raise ValueError(
                f"config.init_from={path}: {collection}/{name} has the shape {arrays[name].shape}, "
                f"and this run's model {leaf.shape}"
            )

    def place(
        leaf: jax.ShapeDtypeStruct, leaf_sharding: jax.sharding.Sharding, array: np.ndarray
    ) -> jax.Array:
        array = np.asarray(array, leaf.dtype)
        return jax.make_array_from_callback(array.shape, leaf_sharding, lambda index: array[index])

    return jax.tree.map(place, target, shardings, bundle.unflatten_weights(arrays))


def _flatten_shapes(tree: Tree) -> dict[str, Any]:
    """Returns the leaves of nested dictionaries by their names in `bundle.flatten_weights`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
