"""Weights in the layout of Hugging Face Transformers."""

import numpy as np

from jukejax.weights import bundle
from jukejax.weights.huggingface import checkpoint
from jukejax.weights.openai import parts
from tests.support import small_bundle


def test_tied_output_weights_may_be_missing(tmp_path):
    source = small_bundle.write(tmp_path / "source", "none")
    configs = small_bundle.configs("none")
    checkpoint.write_model(tmp_path, configs, lambda part: bundle.load_part(source / part)[1])
    states = checkpoint.load_states(tmp_path)
    del states["priors.0.prior.fc_proj_out.weight"]
    state = checkpoint.select_part(states, "level_2", configs["level_2"])
    np.testing.assert_array_equal(state["prior.x_out.weight"], state["prior.x_emb.weight"])
    parts.plan_part(configs["level_2"], state)
