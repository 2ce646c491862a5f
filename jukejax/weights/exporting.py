"""Export of trained models, of training runs or a bundle, to a bundle or other formats."""

import json
import sys
from collections.abc import Callable

from jukejax.common import files
from jukejax.models.prior_config import PriorConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.runtime import precision
from jukejax.weights import bundle, stablehlo
from jukejax.weights.export_inputs import Model, open_bundle_models, open_workdirs
from jukejax.weights.export_options import ExportOptions
from jukejax.weights.huggingface import checkpoint as huggingface_checkpoint
from jukejax.weights.openai import checkpoint as openai_checkpoint
from jukejax.weights.openai import parts


def export_model(options: ExportOptions) -> dict[str, dict]:
    """Writes the output in one of the formats of `WRITERS`; returns the facts of each part by name.

    Formats other than the bundle get an export.json beside them.

    Raises:
      ValueError: the inputs are no runs or bundle, do not belong together, or the format cannot
        express the model.
    """
    inputs = options.inputs
    if len(inputs) == 1 and bundle.is_bundle(inputs[0]):
        model = open_bundle_models(inputs[0], options)
    else:
        model = open_workdirs(inputs, options)
    WRITERS[options.format](model, options)
    if options.format != "bundle":
        descriptions = {name: part.description for name, part in model.parts.items()}
        export = {"layout": options.format, **model.facts, "parts": descriptions}
        files.write_json(options.output / "export.json", export)
    return {name: part.facts for name, part in sorted(model.parts.items())}


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
