"""The initial model of a run (`config.init_from`): its config, vocabulary and origin.

`config.init_from` is a bundle or a workdir of `train`. Names of the data set that are missing in
the model's vocabulary get new rows after the existing ones, which do not change. The folder must
not be moved while the run may be resumed: its vocabulary is read at every start.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jukejax.common import files, mirrors, storage
from jukejax.common.config import to_plain
from jukejax.data import vocabularies
from jukejax.data.vocabularies import LabelTables, Vocabulary
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights import bundle, loading, part_configs

# Keys of a model's config that do not affect the shapes of its weights, or (numbers of names) for
# which rows are added.
FREE = {"attn_dropout", "resid_dropout", "emb_dropout", "remat", "init_scale", "zero_out"}
FREE |= {"ema_decay", "restart_threshold", "num_artists", "num_genres", "max_genres"}
FREE |= {"dropout", "dropout_all", "context_dropout", "style_everywhere", "turn_temperatures"}
FREE |= {"loss_fraction", "alignment_layer", "alignment_head"}
FREE |= {"matching_rounds", "matching_contrast"}
# Keys that a run may add to a model that was trained without them, with 0 or False.
ADDED = {"tempo_bins", "keys", "bar_bins", "phrase_bars", "num_sections", "turns", "reference"}


def name_trained_part(config: ConfigDict) -> str:
    """Returns the name of the part of a bundle that this run trains: "vqvae" or "level_K"."""
    return "vqvae" if config.task == "vqvae" else f"level_{config.model.level}"


def check_model(config: ConfigDict, model_config: PriorConfig | VQVAEConfig) -> None:
    """Checks that the weights of `config.init_from` fit the run's own model.

    Raises:
      ValueError: there is no such model, or its config differs; names all differences at once.
    """
    path = config.get("init_from")
    if not path:
        return
    _, trained_config = part_configs.parse_description(
        loading.read_description(path, name_trained_part(config))
    )
    differences = list(_differences(to_plain(model_config), to_plain(trained_config), "model"))
    if differences:
        raise ValueError(
            f"config.init_from={path} is of another shape than this run: {'; '.join(differences)}; "
            "change config.model, or remove init_from"
        )


def _differences(own: Mapping, trained: Mapping, name: str) -> Iterator[str]:
    """Yields a phrase for each key whose values differ, except for those in `FREE` and `ADDED`."""
    ignored = FREE | {key for key in ADDED & trained.keys() if not trained[key]}
    if "tempo_bins" in ignored:
        ignored |= {"min_bpm", "max_bpm"}
    for key in sorted(own.keys() - ignored):
        values = own[key], trained[key]
        if all(isinstance(value, Mapping) for value in values):
            yield from _differences(*values, f"{name}.{key}")
        elif values[0] != values[1]:
            words = ["given" if isinstance(value, Mapping) else value for value in values]
            yield f"{name}.{key} is {words[0]} here and {words[1]} there"


def extend_label_tables(
    config: ConfigDict, labels: LabelConfig | None, vocabulary: Vocabulary
) -> LabelTables | None:
    """Extends the vocabulary of `config.init_from` with the names of the data set.

    Args:
      labels: of the run's own model; the tables get at least its sizes.
      vocabulary: of the data set.

    Returns:
      None without `init_from` or without labels.

    Raises:
      ValueError: there is no such model.
    """
    if not config.get("init_from") or labels is None:
        return None
    description = loading.read_description(config.init_from, name_trained_part(config))
    trained = vocabularies.parse_vocabulary(description["vocabulary"])
    extended = vocabularies.extend_vocabulary(trained, vocabulary)
    sizes = description["config"].get("labels") or {}
    artists, genres = map(vocabularies.count_rows, (extended.artists, extended.genres))
    return LabelTables(
        extended,
        max(artists, sizes.get("num_artists", 0), labels.num_artists),
        max(genres, sizes.get("num_genres", 0), labels.num_genres),
    )


def read_lyric_characters(config: ConfigDict, vocabulary: Vocabulary) -> str:
    """Returns the characters of the run's lyrics for the alphabet "unicode".

    Args:
      vocabulary: of the data set; its characters are those of a run without `init_from`.
    """
    if not config.get("init_from"):
        return vocabulary.characters
    description = loading.read_description(config.init_from, name_trained_part(config))
    trained = vocabularies.parse_vocabulary(description["vocabulary"])
    return trained.characters if isinstance(trained, Vocabulary) else ""


def describe_origin(config: ConfigDict) -> dict[str, Any]:
    """Returns what a model's description records of `config.init_from`; {} without it."""
    if not config.get("init_from"):
        return {}
    path, name = mirrors.open_input(config.init_from), str(Path(config.init_from))
    if storage.is_remote(config.init_from):
        name = config.init_from.rstrip("/")
        mirrors.open_input(f"{name.rpartition('/')[0]}/model.json")  # beside a part of a bundle
    record: dict[str, Any] = {}
    if (path / "description.json").exists():  # a run that may itself have started from weights
        record = files.read_json(path / "description.json").get("init_from", {})
    for folder in (path.parent, path):  # a part of a bundle, or a bundle
        if bundle.is_bundle(folder):
            record = files.read_json(folder / "model.json")
    rights = {key: record[key] for key in ("license", "provenance") if key in record}
    return {"init_from": {"path": name, **rights}}
