"""Golden checks of one attention layer."""

import jax
import numpy as np

from jukejax.models.block import Attention
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.weights.openai import prior as openai_prior
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.parameters import LAYER, assert_gradients, load_params


def check_attn(case: Case) -> None:
    """Checks forward pass, gradients, probabilities, single steps, and steps from a prefix."""
    hps = case.hps
    assert len(case["in/x"]) == hps["batch"]
    kind = AttentionKind(hps["attn_func"])
    config = layer_config(hps)
    assert config.attn_dim == hps["n_state"]
    layer = Attention(config, kind)
    x, states = case["in/x"], case.get("in/encoder_kv")
    entries = list(openai_prior.attention_entries(kind))
    cross = kind == AttentionKind.ENCODER_DECODER
    params = load_params(entries, case.group("param/"))

    @jax.jit
    def run_both(params, x, states, cotangent):
        def forward(params, x, states):
            return layer.apply({"params": params}, x, states)[0]

        out, pullback = jax.vjp(forward, params, x, states)
        by_mask, probs, _ = layer.apply({"params": params}, x, states, probabilities=True)
        return out, by_mask, probs, pullback(cotangent)

    out, by_mask, probs, gradients = run_both(params, x, states, case["in/cot"])
    for name in ("out/y_train", "out/y_eval"):
        assert_close(out, case[name], rtol=LAYER, name=name)
        assert_close(by_mask, case[name], rtol=LAYER, name=f"{name} with probabilities")
    grad_params, grad_x, grad_states = gradients
    assert_close(grad_x, case["out/grad/x"], rtol=LAYER, name="grad x")
    if cross:
        assert_close(grad_states, case["out/grad/encoder_kv"], rtol=LAYER, name="grad states")
    loose = () if cross else ("c_attn.b",)
    assert_gradients(entries, grad_params, case, "out/grad/param/", LAYER, loose)
    theirs = fold_probabilities(kind, probs, hps)
    assert_close(theirs, case["out/w_eval"], rtol=LAYER, name="w")
    check_steps(case, layer, params, x, states)


def layer_config(hps: dict) -> TransformerConfig:
    """Returns the configuration of a single layer."""
    return TransformerConfig(
        emb_dim=hps["n_in"],
        num_layers=1,
        num_heads=hps["n_head"],
        seq_len=hps["n_ctx"],
        num_blocks=hps["blocks"],
        attn_ratio=hps["n_state"] / hps["n_in"],
        spread=hps.get("spread") or 1,
        lyric_len=hps.get("prime_len") or 0,
        encoder_len=hps.get("encoder_dims") or 0,
        causal=hps.get("mask", True),
    )


def check_steps(case: Case, layer: Attention, params: dict, x, states) -> None:
    """Checks step by step outputs, from an empty cache and from each prefilled length.

    NOTE: without a mask OpenAI's chunks attend to all of their own positions, so that outputs
    depend on the chunks: only single steps are compared.
    """
    kind, config, seq_len = layer.kind, layer.config, case.hps["n_ctx"]
    grid, batch = config.grid, x.shape[0]
    assert case.hps["sample_supported"] == ("out/y_sample" in case)
    chunks = {size % seq_len: f"out/y_chunk{size}" for size in case.hps["chunk_sizes"]}
    starts = {0: "out/y_sample"} | (chunks if config.causal else {})
    if not config.causal and not case.hps["sample_supported"]:
        return

    @jax.jit
    def fill(length):
        _, _, (key, value) = layer.apply({"params": params}, x, states)
        return caches.fill_cache(kind, grid, key, value, length)

    @jax.jit
    def step(cache, x, position):
        return layer.apply({"params": params}, x, cache, position, method=layer.step)

    for start, name in starts.items():
        cache = fill(np.int32(start))
        shape = caches.cache_shape(
            kind, grid, batch, config.num_heads, config.head_dim, config.encoder_len
        )
        assert cache.key.shape == shape
        outs = []
        for position in range(start, seq_len):
            out, cache = step(cache, x[:, position], np.int32(position))
            outs.append(np.asarray(out))
        theirs = case[name][:, start:] if name in case else case["out/y_eval"][:, start:]
        assert_close(np.stack(outs, 1), theirs, rtol=LAYER, name=f"{name} from {start}")


def fold_probabilities(kind: AttentionKind, probs, hps: dict) -> np.ndarray:
    """Lays our probabilities out as OpenAI's: grid rows or columns folded into the batch."""
    probs = np.asarray(probs)
    if kind in (1, 2, 3):  # ours [B, R or L, H, q, k]
        return probs.reshape(-1, *probs.shape[2:])
    if kind == AttentionKind.PRIME:
        return probs[:, :, hps["prime_len"] :, : hps["prime_len"]]
    return probs
