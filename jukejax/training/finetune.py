"""Starting a run from trained weights: `config.init_from`, a bundle or a workdir of `train`.

The weights (of a workdir: the averaged ones) and codebooks are taken; the optimizer, the averages
and the schedule begin anew. Artists and genres of the corpus that the model does not know get rows
behind its own, names that it knows keep theirs. The folder must stay where it is as long as the run
may be resumed: its vocabulary is read at every start.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jukejax.common import files
from jukejax.common.config import plain
from jukejax.common.types import Tree
from jukejax.data import vocabularies
from jukejax.data.vocabularies import LabelTables, Vocabulary
from jukejax.models.conditioners import LabelConfig
from jukejax.models.prior import PriorConfig
from jukejax.models.vqvae import VQVAEConfig
from jukejax.runtime import distributed, sharding
from jukejax.training import state
from jukejax.training.task import Task
from jukejax.weights import bundle, loading
from jukejax.weights.openai import released

# Keys of a model's config that its weights do not depend on: how it is initialised and trained,
# and how many names it knows.
FREE = {"attn_dropout", "resid_dropout", "emb_dropout", "remat", "init_scale", "zero_out"}
FREE |= {"ema_decay", "restart_threshold", "num_artists", "num_genres", "max_genres"}
NOISE = 0.1  # of new rows, as a share of their table's standard deviation


def check_model(config, frozen: PriorConfig | VQVAEConfig) -> None:
    """Refuses to start from weights that mean something else in this run's model `frozen`.

    Raises:
      ValueError: there is no such model, or it differs; all differences at once.
    """
    path = config.get("init_from")
    if not path:
        return
    theirs = released.parse_description(loading.read_description(path, _part(config)))[1]
    different = list(_differences(plain(frozen), plain(theirs), "model"))
    if different:
        raise ValueError(
            f"config.init_from={path} is of another shape than this run: {'; '.join(different)}; "
            "give the model its values, or leave init_from away"
        )


def names(config, frozen: LabelConfig | None, corpus_names: Vocabulary) -> LabelTables | None:
    """What the model that `config.init_from` names and the corpus know together.

    Args:
      frozen: the labels of the run's own model; its tables get no smaller than it says.
      corpus_names: of the data set.

    Returns:
      None where the run starts from nothing, or has no labels.

    Raises:
      ValueError: there is no such model.
    """
    if not config.get("init_from") or frozen is None:
        return None
    described = loading.read_description(config.init_from, _part(config))
    own = vocabularies.parse_vocabulary(described["vocabulary"])
    extended = vocabularies.extend_vocabulary(own, corpus_names)
    rows = described["config"].get("labels") or {}
    artists, genres = map(vocabularies.count_rows, (extended.artists, extended.genres))
    return LabelTables(
        extended,
        max(artists, rows.get("num_artists", 0), frozen.num_artists),
        max(genres, rows.get("num_genres", 0), frozen.num_genres),
    )


def origin(config) -> dict:
    """What a description says of the weights that a run started from: {} for a run from nothing."""
    if not config.get("init_from"):
        return {}
    path = Path(config.init_from)
    told = {}
    if (path / "description.json").exists():  # a run that may itself have started from weights
        told = files.read_json(path / "description.json").get("init_from", {})
    for folder in (path.parent, path):  # a part of a bundle, or a bundle
        if (folder / "model.json").exists():
            told = files.read_json(folder / "model.json")
    kept = {key: told[key] for key in ("license", "provenance") if key in told}
    return {"init_from": {"path": str(path), **kept}}


def start(config, task: Task, program, key: jax.Array) -> state.TrainState | None:
    """The state of a new run with the weights of `config.init_from`, cut into the run's shards.

    Args:
      program: the run's `program.Program`.
      key: the run's; the noise of new rows is drawn from it, alike on every process.

    Returns:
      None where the run starts from nothing.

    Raises:
      ValueError: the folder holds no such model, or weights that are not its config's.
    """
    if not config.get("init_from"):
        return None
    path = config.init_from
    described, weights = loading.load_model(path, _part(config))
    here = task.describe()
    _warn_of_other_codes(path, described, here)
    params = weights["params"]
    if "label_conditioner" in params:
        params = grow_tables(params, described["vocabulary"], here, key)
    target = program.target
    params = _placed(path, "params", params, target.params, program.shardings.params)
    extra = _placed(path, "extra", weights["extra"], target.extra, program.shardings.extra)

    def begin(params: Tree, extra: Tree) -> state.TrainState:
        return sharding.unbox(state.start_state(program.recipe, params, extra))

    run_state = jax.jit(begin, out_shardings=program.shardings)(params, extra)
    if distributed.is_writer():
        licence = origin(config)["init_from"].get("license")
        told = f" (licence of its weights: {licence})" if licence else ""
        print(f"starting from {path}{told}", file=sys.stderr)
    return run_state


def grow_tables(params: Tree, vocabulary: Mapping, here: Mapping, key: jax.Array) -> Tree:
    """`params` with rows for every name that `here` describes and `vocabulary` lacks.

    A new row is the mean of the old ones and a little noise, so that it means "somebody" at first.

    Args:
      params: of a labelled prior, host arrays; label tables are [names, emb_dim].
      vocabulary: of the model that they are of.
      here: description of the run's model.
    """
    before, after = map(vocabularies.parse_vocabulary, (vocabulary, here["vocabulary"]))
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    tables = dict(params["label_conditioner"])
    for what in ("artist", "genre"):
        old = np.asarray(tables[what], np.float32)
        rows = here["config"]["labels"][f"num_{what}s"]
        known, all_ids = (
            vocabularies.used_ids(getattr(found, f"{what}s")) for found in (before, after)
        )
        fresh = sorted((all_ids - known) | set(range(len(old), rows)))
        new = np.zeros((rows, old.shape[1]), np.float32)
        new[: len(old)] = old
        noise = generator.standard_normal((len(fresh), old.shape[1])).astype(np.float32)
        new[fresh] = old.mean(axis=0) + NOISE * old.std() * noise
        tables[what] = new
    return dict(params, label_conditioner=tables)


def _part(config) -> str:
    return "vqvae" if config.task == "vqvae" else f"level_{config.model.level}"


def _differences(ours: Mapping, theirs: Mapping, where: str):
    """One phrase for each key of two configs that is not the same, `FREE` ones aside."""
    for key in sorted(ours.keys() - FREE):
        mine, other = ours[key], theirs[key]
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            yield from _differences(mine, other, f"{where}.{key}")
        elif mine != other:
            told = ["given" if isinstance(value, Mapping) else value for value in (mine, other)]
            yield f"{where}.{key} is {told[0]} here and {told[1]} there"


def _warn_of_other_codes(path: str, described: Mapping, here: Mapping) -> None:
    theirs, ours = ((told.get("vqvae") or {}).get("hash") for told in (described, here))
    if theirs and ours and theirs != ours and distributed.is_writer():
        print(
            f"warning: {path} was trained on codes of another VQ-VAE than those of data.folder; "
            "encode with its own if codes shall mean what they meant to it",
            file=sys.stderr,
        )


def _placed(path: str, what: str, tree: Tree, target: Tree, shardings: Tree) -> Tree:
    """Host arrays as shards of the run's arrays, each process cutting its own out."""
    given, wanted = bundle.flatten_weights(tree), _flat(target)
    for name in sorted(given.keys() ^ wanted.keys()):
        has = "lacks" if name in wanted else "holds"
        raise ValueError(
            f"config.init_from={path} {has} {what}/{name}, unlike this run's model; export it again"
        )
    for name, leaf in wanted.items():
        if given[name].shape != leaf.shape:
            raise ValueError(
                f"config.init_from={path}: {what}/{name} has the shape {given[name].shape}, and "
                f"this run's model {leaf.shape}"
            )

    def place(leaf, sharding_of_it, array):
        array = np.asarray(array, leaf.dtype)
        return jax.make_array_from_callback(array.shape, sharding_of_it, lambda cut: array[cut])

    return jax.tree.map(place, target, shardings, bundle.unflatten_weights(given))


def _flat(tree: Tree) -> dict[str, Any]:
    """Leaves of nested dictionaries by the names that `bundle.flatten_weights` gives them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(part.key for part in path): leaf for path, leaf in leaves}
