"""Config of the VQ-VAE in Hugging Face Transformers 4.49, converted from and to ours.

Models that the port cannot express are refused, not approximated.
"""

from collections.abc import Mapping
from typing import Any

from jukejax.models.vqvae_config import VQVAEConfig

LEVELS = 3  # of every model of the port, independent of the config

# Transformers' defaults, for fields that a config.json omits.
VQVAE_DEFAULTS: dict[str, Any] = {
    "conv_input_shape": 1,
    "embed_dim": 64,
    "nb_discrete_codes": 2048,
    "res_conv_width": 32,
    "res_conv_depth": 4,
    "res_convolution_multiplier": 1,
    "res_dilation_growth_rate": 3,
    "res_dilation_cycle": None,
    "multipliers": [2, 1, 1],
    "res_downs_t": [3, 2, 2],
    "res_strides_t": [2, 2, 2],
    "lmu": 0.99,
    "conv_res_scale": False,
    "zero_out": False,
}


def to_integer(value: float, name: str) -> int:
    """Converts a number that is an integer in Transformers.

    Raises:
      ValueError: the number is not whole.
    """
    if value != int(value):
        raise ValueError(f"Transformers' Jukebox cannot hold {name} {value}, only whole numbers")
    return int(value)


def export_vqvae(config: VQVAEConfig) -> dict[str, Any]:
    """Converts our config of the VQ-VAE to Transformers'.

    Raises:
      ValueError: Transformers has no such VQ-VAE.
    """
    if config.levels != LEVELS or not config.has_codes or not config.reverse_decoder_dilation:
        raise ValueError(
            f"Transformers' Jukebox holds only VQ-VAEs with {LEVELS} levels, a bottleneck and "
            "reversed decoder dilations; take --format=openai or safetensors"
        )
    if config.frames is not None:
        raise ValueError(
            "Transformers' Jukebox has no VQ-VAE with frames (config.model.frames); take "
            "--format=bundle or safetensors"
        )
    return {
        "model_type": "jukebox_vqvae",
        "conv_input_shape": config.channels,
        "levels": config.levels,
        "embed_dim": config.emb_dim,
        "nb_discrete_codes": config.codebook_size,
        "res_conv_width": config.width,
        "res_conv_depth": config.depth,
        "res_convolution_multiplier": to_integer(config.m_conv, "m_conv"),
        "res_dilation_growth_rate": config.dilation_growth_rate,
        "res_dilation_cycle": config.dilation_cycle,
        "multipliers": list(config.multipliers),
        "res_downs_t": list(config.downs),
        "res_strides_t": list(config.strides),
        "lmu": config.ema_decay,
        "conv_res_scale": config.res_scale,
        "zero_out": config.zero_out,
    }


def import_vqvae(foreign: Mapping[str, Any]) -> VQVAEConfig:
    """Converts Transformers' config of the VQ-VAE to ours; inverts `export_vqvae`."""
    values = VQVAE_DEFAULTS | dict(foreign)
    return VQVAEConfig(
        downs=tuple(values["res_downs_t"]),
        strides=tuple(values["res_strides_t"]),
        emb_dim=values["embed_dim"],
        codebook_size=values["nb_discrete_codes"],
        width=values["res_conv_width"],
        depth=values["res_conv_depth"],
        multipliers=tuple(values["multipliers"]),
        m_conv=float(values["res_convolution_multiplier"]),
        dilation_growth_rate=values["res_dilation_growth_rate"],
        dilation_cycle=values["res_dilation_cycle"],
        res_scale=bool(values["conv_res_scale"]),
        zero_out=values["zero_out"],
        ema_decay=values["lmu"],
        channels=values["conv_input_shape"],
    )
