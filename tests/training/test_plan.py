"""Estimates of a plan that need no devices (tests/eight_devices/test_plan.py has the others)."""

import pytest
from ml_collections import ConfigDict

from jukejax.training import plan


@pytest.mark.parametrize(
    ("attn_order", "num_layers", "layers"),
    [(2, 36, 3), (7, 48, 16), (8, 72, 10), (10, 48, 10)],  # the longest cycle that is recomputed
)
def test_full_remat_recomputes_a_cycle_at_a_time(attn_order, num_layers, layers):
    config = ConfigDict({"task": "prior"})
    config.model = {
        "transformer": {
            "emb_dim": 64,
            "num_layers": num_layers,
            "num_heads": 2,
            "seq_len": 256,
            "num_blocks": 16,
            "attn_order": attn_order,
            "encoder_len": 32,
            "remat": "full",
        }
    }
    assert plan._share_of_layers(config) * num_layers == pytest.approx(layers)
