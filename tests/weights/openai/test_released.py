"""Which released model a checkpoint is."""

import numpy as np
import pytest

from jukejax.weights import stream
from jukejax.weights.openai import parts, released
from jukejax.weights.part_configs import find_part_shapes


@pytest.mark.parametrize(
    ("part", "variant"),
    [
        ("level_0", "small_upsampler"),
        pytest.param("vqvae", "small_vqvae", marks=pytest.mark.slow),
        pytest.param("level_2", "5b", marks=pytest.mark.slow),
        pytest.param("level_2", "small_sep_enc_dec_prior", marks=pytest.mark.slow),
    ],
)
def test_a_released_model_is_recognized_by_its_shapes(part, variant):
    path = released.RELEASED if variant == "5b" else released.SMALL
    _, config = released.read_config(f"{path}:{variant}")
    shapes = stream.foreign_shapes(parts.part_entries(config), find_part_shapes(config))
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    state.popitem()  # a checkpoint that lacks a tensor still resembles it most
    assert released.guess_variant(part, state) == (variant, config)
