"""The models to export: those of training runs, or of a bundle."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jukejax.common import files, mirrors
from jukejax.common.types import Tree
from jukejax.data.vocabularies import Vocabulary
from jukejax.runtime import precision
from jukejax.weights import bundle, checkpoints, loading, part_checks, part_configs
from jukejax.weights.adapters import RECORD, AdaptersRecord, read_record
from jukejax.weights.codec_identity import check_priors, compare_codecs, identify_codec
from jukejax.weights.export_options import ExportOptions, read_recommendation


@dataclass(frozen=True)
class Part:
    """One model to export.

    Attributes:
      path: workdir or folder of a bundle's part, for messages.
      description: of the model, as in a bundle.
      load: loads {"params", "extra"}.
      facts: of a training run, the origin of the weights: "weights" ("ema" or "raw"), "step", and
        if it was measured "heldout_bits" of a prior or "heldout_loss" of a VQ-VAE.
    """

    path: str
    description: dict
    load: Callable[[], Tree]
    facts: dict = field(default_factory=dict)

    @property
    def config(self) -> part_configs.Config:
        return part_configs.parse_description(self.description)[1]


@dataclass(frozen=True)
class Model:
    """The parts to export, by name ("vqvae", "level_0", ...), and the content of model.json."""

    parts: dict[str, Part]
    facts: dict


def open_workdirs(workdirs: Sequence[str], options: ExportOptions) -> Model:
    """Opens the models of training runs; bundles among them give the parts that the runs lack.

    A VQ-VAE beside priors has its averaged weights also with `options.raw`: the priors were trained
    on its codes.

    Raises:
      ValueError: a folder is neither, two hold the same part, there is no VQ-VAE, or a prior was
        trained on codes of another VQ-VAE.
    """
    model_parts: dict[str, Part] = {}
    for workdir in sorted(workdirs, key=bundle.is_bundle):
        for name, part in _open_input(workdir, options).items():
            if name not in model_parts:
                model_parts[name] = part
            elif not bundle.is_bundle(workdir):
                raise ValueError(
                    f"{workdir} and {model_parts[name].path} are both {name}; give one of them"
                )
    if "vqvae" not in model_parts:
        raise ValueError("no workdir of a VQ-VAE among --workdir; a bundle needs one")
    if options.adapters and not any(RECORD in p.description for p in model_parts.values()):
        raise ValueError("--adapters needs a --workdir that was trained with config.lora")
    vocabularies = [
        part.description["vocabulary"] for name, part in model_parts.items() if name != "vqvae"
    ]
    model_parts = {name: _cast_part(part, options) for name, part in model_parts.items()}
    return _describe_model(
        model_parts,
        {
            "vocabulary": vocabularies[-1] if vocabularies else Vocabulary().plain(),
            "license": options.license or "unspecified",
            "provenance": [
                f"{part.path} ({describe_facts(part.facts)})" for part in model_parts.values()
            ],
            "checkpoints": {name: part.facts for name, part in model_parts.items()},
            **({"recipe": options.recipe} if options.recipe else {}),
            **read_recommendation(workdirs, options),
        },
    )


def _open_input(workdir: str, options: ExportOptions) -> dict[str, Part]:
    """Opens the model of a training run, or those of a bundle, by name."""
    if bundle.is_bundle(workdir):
        facts = {"weights": "bundle"}
        parts_of_bundle = _list_bundle_parts(workdir)
        return {name: replace(part, facts=facts) for name, part in parts_of_bundle.items()}
    path = Path(workdir) / "description.json"
    if not path.exists():
        raise ValueError(
            f"{workdir} is no workdir of train (it has no description.json) and no bundle"
        )
    description = files.read_json(path)
    name = part_configs.name_part(description)
    return {name: _open_run(workdir, name, description, options)}


def _takes_raw(name: str, options: ExportOptions) -> bool:
    """Returns true if a part's latest weights are exported, not their moving average."""
    return options.raw and (name != "vqvae" or len(options.inputs) == 1)


def _choose_checkpoint(name: str, options: ExportOptions) -> str:
    """Returns which checkpoint of a part's training run is exported."""
    choice = options.checkpoint
    is_beside_priors = len(options.inputs) > 1
    if name == "vqvae" and (choice == "best" or (choice.isdecimal() and is_beside_priors)):
        return "latest"
    return choice


def _open_run(workdir: str, name: str, description: dict, options: ExportOptions) -> Part:
    """Opens a training run at the checkpoint of the options."""
    saved = checkpoints.select_step(workdir, _choose_checkpoint(name, options))
    raw = _takes_raw(name, options)
    facts: dict[str, Any] = {"weights": "raw" if raw else "ema", "step": saved.step}
    if saved.heldout_loss is not None:
        facts["heldout_loss" if name == "vqvae" else "heldout_bits"] = saved.heldout_loss
    record = read_record(description, Path(workdir) / "description.json")
    if record is not None:
        facts["base"] = record.path
        if options.adapters:
            record = None  # they stay apart from their base
        else:
            description = {key: value for key, value in description.items() if key != RECORD}
    return Part(workdir, description, functools.partial(_load_run, saved, raw, name, record), facts)


def _load_run(
    saved: checkpoints.SavedStep, raw: bool, name: str, record: AdaptersRecord | None
) -> Tree:
    """Loads the weights of a run; with a record of adapters, merged with their base."""
    state = checkpoints.read_step(saved)
    params = state["params" if raw else "ema_params"]
    if record is not None:
        params = loading.merge_adapters(record, params, name, saved.folder.parent)
    weights = {"params": params, "extra": state.get("extra") or {}}
    part_checks.check_finite(weights, saved.folder / str(saved.step))
    return weights


def describe_facts(facts: Mapping[str, Any]) -> str:
    """Formats the origin of weights: `ema, step 280, held out 4.692 bits a code`."""
    words = [facts["weights"]]
    if "step" in facts:
        words.append(f"step {facts['step']}")
    if "heldout_bits" in facts:
        words.append(f"held out {facts['heldout_bits']:.3f} bits a code")
    if "heldout_loss" in facts:
        words.append(f"held-out spectral distance {facts['heldout_loss']:.4g}")
    if "base" in facts:
        words.append(f"adapters of {facts['base']}")
    return ", ".join(words)


def open_bundle_models(folder: str, options: ExportOptions) -> Model:
    """Opens the models of a bundle, whose license and provenance are kept.

    Raises:
      ValueError: the bundle is damaged or has no VQ-VAE, or an option is for training runs.
    """
    content = bundle.open_bundle(folder)
    if options.raw or options.checkpoint != "latest" or options.adapters:
        raise ValueError(
            f"{folder} is a bundle and holds one set of weights; remove --weights, --checkpoint "
            "and --adapters"
        )
    model_parts = _list_bundle_parts(folder)
    recipe = options.recipe or content.get("recipe")
    return _describe_model(
        {name: _cast_part(part, options) for name, part in model_parts.items()},
        {
            "vocabulary": content["vocabulary"],
            "license": options.license or content["license"],
            "provenance": [
                *content["provenance"],
                f"exported from {mirrors.restore_names(str(folder))}",
            ],
            **({"recipe": recipe} if recipe else {}),
            **read_recommendation([folder], options),
        },
    )


def _list_bundle_parts(folder: str) -> dict[str, Part]:
    """Lists the models of a bundle, by name.

    Raises:
      ValueError: the bundle is damaged or has no VQ-VAE.
    """
    content = bundle.open_bundle(folder)
    model_parts = {}
    for name in ("vqvae", *(f"level_{level}" for level in sorted(content["levels"]))):
        path = Path(folder) / name
        if not path.is_dir() and name == "vqvae":
            raise ValueError(f"{folder} has no VQ-VAE; an export needs one")
        load = functools.partial(_load_bundle_part, folder, name)
        description = files.read_json(path / "config.json")
        description.pop(RECORD, None)  # adapters are merged on loading
        model_parts[name] = Part(str(path), description, load)
    return model_parts


def _cast_part(part: Part, options: ExportOptions) -> Part:
    """Returns a part whose weights are stored in the type of the options (not for StableHLO)."""
    if options.dtype == "float32" or options.format not in ("bundle", "safetensors"):
        return part
    dtype = np.dtype(precision.compute_dtype(options.dtype))
    return replace(part, load=functools.partial(_load_cast, part.load, dtype))


def _load_cast(load: Callable[[], Tree], dtype: np.dtype) -> Tree:
    """Loads weights with the parameters and code vectors in another float type."""
    weights = load()
    params = jax.tree.map(lambda value: np.asarray(value).astype(dtype), weights["params"])
    return {"params": params, "extra": bundle.compact_codebooks(weights["extra"], dtype)}


def _load_bundle_part(folder: str, name: str) -> Tree:
    return loading.load_model(folder, name)[1]


def _describe_model(model_parts: dict[str, Part], facts: dict) -> Model:
    """Describes the parts; priors get the current form of the identity of their VQ-VAE.

    Raises:
      ValueError: a prior was trained on codes of another VQ-VAE.
    """
    vqvae = model_parts["vqvae"]
    weights = vqvae.load()
    identity = identify_codec(weights | {"extra": bundle.expand_codebooks(weights["extra"])})
    priors = {name: part for name, part in model_parts.items() if name != "vqvae"}
    check_priors(
        identity,
        {part.path: part.description for part in priors.values()},
        vqvae.path,
        "give the one that encoded them",
    )
    for name, part in priors.items():
        if compare_codecs(part.description.get("vqvae"), identity):
            description = part.description | {"vqvae": identity}
            model_parts[name] = replace(part, description=description)
    shared = {
        "sample_rate": vqvae.description["sample_rate"],
        "hops": vqvae.description["hops"],
        "levels": sorted(int(name.removeprefix("level_")) for name in priors),
        "vqvae": identity,
    }
    return Model(model_parts, shared | facts)
