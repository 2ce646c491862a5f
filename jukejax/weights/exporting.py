"""Export of trained models, of training runs or a bundle, to a bundle or other formats."""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.data.vocabularies import Vocabulary
from jukejax.models.prior import PriorConfig
from jukejax.models.vqvae import VQVAEConfig
from jukejax.runtime import precision
from jukejax.weights import bundle, checkpoints, loading, stablehlo
from jukejax.weights.huggingface import checkpoint as huggingface_checkpoint
from jukejax.weights.openai import checkpoint as openai_checkpoint
from jukejax.weights.openai import parts, released


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
      inputs: workdirs of `train`, or one bundle.
      output: folder to write.
      format: a key of `WRITERS`.
      raw: export the latest weights of a training run, not their moving average.
      checkpoint: which checkpoint of a training run, see `checkpoints.select_step`; "best" applies
        to priors, for the VQ-VAE it is the newest.
      license: license of the weights; None: that of the bundle, or unspecified.
      seconds: seconds of audio for one call of StableHLO's encode or decode.
      batch: items of one call of a StableHLO function.
      dtype: float type of a prior in StableHLO.
    """

    inputs: Sequence[str]
    output: Path
    format: str = "bundle"
    raw: bool = False
    checkpoint: str = "newest"
    license: str | None = None
    seconds: float = 6.0
    batch: int = 1
    dtype: str = "float32"


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
    def config(self) -> parts.Config:
        return released.parse_description(self.description)[1]


@dataclass(frozen=True)
class Model:
    """The parts to export, by name ("vqvae", "level_0", ...), and the content of model.json."""

    parts: dict[str, Part]
    facts: dict


def export_model(options: ExportOptions) -> dict[str, dict]:
    """Writes the output in one of the formats of `WRITERS`; returns the facts of each part by name.

    Formats other than the bundle get an export.json beside them.

    Raises:
      ValueError: the inputs are no runs or bundle, do not belong together, or the format cannot
        express the model.
    """
    inputs = options.inputs
    if len(inputs) == 1 and (Path(inputs[0]) / "model.json").exists():
        model = open_bundle_models(inputs[0], options)
    else:
        model = open_workdirs(inputs, options)
    WRITERS[options.format](model, options)
    if options.format != "bundle":
        descriptions = {name: part.description for name, part in model.parts.items()}
        export = {"layout": options.format, **model.facts, "parts": descriptions}
        files.write_json(options.output / "export.json", export)
    return {name: part.facts for name, part in sorted(model.parts.items())}


# -- Inputs ------------------------------------------------------------------------------------


def open_workdirs(workdirs: Sequence[str], options: ExportOptions) -> Model:
    """Opens the models of training runs.

    Raises:
      ValueError: a folder is no workdir, two hold the same part, there is no VQ-VAE, or a prior was
        trained on codes of another VQ-VAE.
    """
    model_parts: dict[str, Part] = {}
    for workdir in workdirs:
        path = Path(workdir) / "description.json"
        if not path.exists():
            raise ValueError(f"{workdir} is no workdir of train (it has no description.json)")
        description = files.read_json(path)
        name = loading.part_name(description)
        if name in model_parts:
            raise ValueError(
                f"{workdir} and {model_parts[name].path} are both {name}; give one of them"
            )
        model_parts[name] = _open_run(workdir, name, description, options)
    if "vqvae" not in model_parts:
        raise ValueError("no workdir of a VQ-VAE among --workdir; a bundle needs one")
    priors = {name: part for name, part in model_parts.items() if name != "vqvae"}
    _check_vqvae_hash(model_parts["vqvae"], priors)
    vocabularies = [part.description["vocabulary"] for part in priors.values()]
    return _describe_model(
        model_parts,
        {
            "vocabulary": vocabularies[-1] if vocabularies else Vocabulary().plain(),
            "license": options.license or "unspecified",
            "provenance": [
                f"{part.path} ({describe_facts(part.facts)})" for part in model_parts.values()
            ],
            "checkpoints": {name: part.facts for name, part in model_parts.items()},
        },
    )


def _check_vqvae_hash(vqvae: Part, priors: dict[str, Part]) -> None:
    """Checks that priors were trained on codes of the VQ-VAE with its averaged weights."""
    vqvae_hash = bundle.hash_weights(loading.load_model(vqvae.path, "vqvae")[1])
    for part in priors.values():
        if part.description["vqvae"]["hash"] != vqvae_hash:
            raise ValueError(
                f"{part.path} was trained on codes of another VQ-VAE than {vqvae.path}; give the "
                "one that encoded them"
            )


def _open_run(workdir: str, name: str, description: dict, options: ExportOptions) -> Part:
    """Opens a training run at the checkpoint of the options."""
    is_newest = name == "vqvae" and options.checkpoint == "best"
    saved = checkpoints.select_step(workdir, "newest" if is_newest else options.checkpoint)
    facts: dict[str, Any] = {"weights": "raw" if options.raw else "ema", "step": saved.step}
    if saved.heldout_loss is not None:
        facts["heldout_loss" if name == "vqvae" else "heldout_bits"] = saved.heldout_loss
    return Part(workdir, description, functools.partial(_load_run, saved, options.raw), facts)


def _load_run(saved: checkpoints.SavedStep, raw: bool) -> Tree:
    state = checkpoints.read_step(saved)
    params = state["params" if raw else "ema_params"]
    for name, value in bundle.flatten_weights(params).items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"{name} of checkpoint {saved.step} of {saved.folder} is not finite: the run "
                "diverged; --checkpoint=best or an earlier checkpoint may be sound"
            )
    return {"params": params, "extra": state.get("extra") or {}}


def describe_facts(facts: Mapping[str, Any]) -> str:
    """Formats the origin of weights: `ema, step 280, held out 4.692 bits a code`."""
    words = [facts["weights"], f"step {facts['step']}"]
    if "heldout_bits" in facts:
        words.append(f"held out {facts['heldout_bits']:.3f} bits a code")
    if "heldout_loss" in facts:
        words.append(f"held-out spectral distance {facts['heldout_loss']:.4g}")
    return ", ".join(words)


def open_bundle_models(folder: str, options: ExportOptions) -> Model:
    """Opens the models of a bundle, whose license and provenance are kept.

    Raises:
      ValueError: the bundle is damaged or has no VQ-VAE, or an option is for training runs.
    """
    content = bundle.open_bundle(folder)
    if options.raw or options.checkpoint != "newest":
        raise ValueError(
            f"{folder} is a bundle and holds one set of weights; remove --weights and --checkpoint"
        )
    model_parts = {}
    for name in ("vqvae", *(f"level_{level}" for level in sorted(content["levels"]))):
        path = Path(folder) / name
        if not path.is_dir() and name == "vqvae":
            raise ValueError(f"{folder} has no VQ-VAE; an export needs one")
        load = functools.partial(_load_bundle_part, folder, name)
        model_parts[name] = Part(str(path), files.read_json(path / "config.json"), load)
    return _describe_model(
        model_parts,
        {
            "vocabulary": content["vocabulary"],
            "license": options.license or content["license"],
            "provenance": [*content["provenance"], f"exported from {folder}"],
        },
    )


def _load_bundle_part(folder: str, name: str) -> Tree:
    return loading.load_model(folder, name)[1]


def _describe_model(model_parts: dict[str, Part], facts: dict) -> Model:
    vqvae = model_parts["vqvae"].description
    levels = sorted(int(name.removeprefix("level_")) for name in model_parts if name != "vqvae")
    shared = {"sample_rate": vqvae["sample_rate"], "hops": vqvae["hops"], "levels": levels}
    return Model(model_parts, shared | facts)


# -- Formats -----------------------------------------------------------------------------------


def write_bundle(model: Model, options: ExportOptions) -> None:
    """Writes a model bundle."""
    for name, part in model.parts.items():
        bundle.save_part(options.output / name, part.description, part.load())
        _report_written(name)
    bundle.save_bundle(options.output, model.facts)


def write_safetensors(model: Model, options: ExportOptions) -> None:
    """Writes a file for each model, with its description as JSON in the header."""
    from safetensors.numpy import save_file

    options.output.mkdir(parents=True, exist_ok=True)
    for name, part in model.parts.items():
        fields = {"config": part.description, **model.facts}
        header = {key: json.dumps(value) for key, value in fields.items()}
        with files.replacing(options.output / f"{name}.safetensors") as temporary:
            save_file(bundle.flatten_weights(part.load()), temporary, metadata=header)
        _report_written(name)


def write_openai(model: Model, options: ExportOptions) -> None:
    """Writes checkpoints for OpenAI's code."""
    openai_checkpoint.import_torch()
    facts = {key: json.dumps(model.facts[key]) for key in ("license", "provenance")}
    for name, part in model.parts.items():
        state = parts.part_state(part.config, part.load())
        path = options.output / openai_checkpoint.checkpoint_name(name)
        openai_checkpoint.write_checkpoint(path, state, facts)
        _report_written(name)


def write_huggingface(model: Model, options: ExportOptions) -> None:
    """Writes a folder for `JukeboxModel.from_pretrained` of Transformers."""
    configs = {name: part.config for name, part in model.parts.items()}
    huggingface_checkpoint.write_model(
        options.output, configs, lambda name: model.parts[name].load()
    )


def write_stablehlo(model: Model, options: ExportOptions) -> None:
    """Writes functions that need jax only; `options.seconds` is rounded to whole codes."""
    vqvae = model.parts["vqvae"].config
    assert isinstance(vqvae, VQVAEConfig)
    codes = max(1, round(options.seconds * model.facts["sample_rate"] / vqvae.hops[-1]))
    dtype = precision.compute_dtype(options.dtype)
    for name, part in model.parts.items():
        weights, config = part.load(), part.config
        if isinstance(config, PriorConfig):
            flat = stablehlo.prior_weights(config, weights["params"], dtype)
            functions = stablehlo.prior_functions(config, flat, batch=options.batch)
        else:
            flat = bundle.flatten_weights(weights)
            samples = codes * config.hops[-1]
            functions = stablehlo.vqvae_functions(config, samples=samples, batch=options.batch)
        stablehlo.write_functions(options.output / name, flat, functions)
        _report_written(name)


def _report_written(name: str) -> None:
    print(f"{name} written", file=sys.stderr)


WRITERS: dict[str, Callable[[Model, ExportOptions], None]] = {
    "bundle": write_bundle,
    "safetensors": write_safetensors,
    "openai": write_openai,
    "huggingface": write_huggingface,
    "stablehlo": write_stablehlo,
}
