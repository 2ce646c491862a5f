"""The config.json of the Jukebox port in Hugging Face Transformers 4.49, from and to our configs.

The port's `priors[0]` is the top level.
"""

from collections.abc import Mapping
from typing import Any

from jukejax.models.prior_config import PriorConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights.huggingface.prior_config import export_label_limits, export_prior, import_prior
from jukejax.weights.huggingface.vqvae_config import LEVELS, export_vqvae, import_vqvae
from jukejax.weights.part_configs import Config


def export_configs(configs: Mapping[str, Config]) -> dict[str, Any]:
    """Converts our configs by part to the config.json of a whole model.

    Raises:
      ValueError: the VQ-VAE is missing, a level above one that is present is missing, or
        Transformers has no such model.
    """
    vqvae = configs.get("vqvae")
    levels = [configs.get(f"level_{level}") for level in reversed(range(LEVELS))]
    while levels and levels[-1] is None:
        levels.pop()
    priors = [prior for prior in levels if isinstance(prior, PriorConfig)]
    if not isinstance(vqvae, VQVAEConfig) or not priors or len(priors) < len(levels):
        raise ValueError(
            "Transformers' Jukebox is a VQ-VAE with priors from the top level down, but here is "
            f"only {', '.join(sorted(configs))}"
        )
    labels = priors[0].labels
    model = {
        "model_type": "jukebox",
        "architectures": ["JukeboxModel"],
        "vqvae_config": export_vqvae(vqvae),
        "prior_config_list": [export_prior(prior, vqvae) for prior in priors],
        "nb_priors": len(priors),
        "metadata_conditioning": labels is not None,
    }
    return model if labels is None else model | export_label_limits(labels)


def import_configs(foreign: Mapping[str, Any]) -> dict[str, Config]:
    """Converts a config.json, of either of the port's two layouts, to our configs by part.

    Raises:
      ValueError: it is of another kind of model, or names an unknown attention pattern.
    """
    if foreign.get("model_type") != "jukebox":
        raise ValueError(
            f"config.json is of a model of type {foreign.get('model_type')!r}, not jukebox"
        )
    vqvae = import_vqvae(foreign.get("vqvae_config") or {})
    listed = foreign.get("prior_config_list")
    if listed is None:
        listed = [foreign.get(f"prior_{i}") or {} for i in range(foreign.get("nb_priors", LEVELS))]
    priors = [import_prior(prior, number, vqvae) for number, prior in enumerate(listed)]
    return {"vqvae": vqvae, **{f"level_{prior.level}": prior for prior in priors}}
