"""Which released model a checkpoint is."""

import numpy as np
import pytest

from jukejax.weights import stream
from jukejax.weights.openai import parts, released


@pytest.mark.parametrize(
    ("part", "variant"),
    [("level_2", "5b"), ("level_2", "small_sep_enc_dec_prior"), ("vqvae", "small_vqvae")],
)
def test_a_released_model_is_recognized_by_its_shapes(part, variant):
    path = released.RELEASED if variant == "5b" else released.SMALL
    _, config = released.read_config(f"{path}:{variant}")
    shapes = stream.foreign_shapes(parts.part_entries(config), parts.part_shapes(config))
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    state.popitem()  # a checkpoint that lacks a tensor still resembles it most
    assert released.guess_variant(part, state) == (variant, config)
