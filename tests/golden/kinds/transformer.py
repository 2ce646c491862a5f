"""Golden checks of attention, the autoregressive model, conditioners and single operations."""

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.token_loop import NO_FILTER, TrackNoise, sample_tokens
from jukejax.models import decoding
from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.block import Attention
from jukejax.models.conditioners import (
    CodeConditioner,
    CodeConditionerConfig,
    LabelConditioner,
    LabelConfig,
    compute_timing_bins,
)
from jukejax.models.transformer import empty_caches
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops import cache as caches
from jukejax.ops import logits as logits_ops
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.weights import mapping
from jukejax.weights.openai import prior as openai_prior
from tests.golden.kinds.case import Case, assert_close

LAYER, MODEL = 1e-5, 1e-4


def shapes_of(init, *args):
    """Our parameter tree as shapes, without boxes."""
    import flax.linen as nn

    return nn.meta.unbox(jax.eval_shape(init, jax.random.key(0), *args))["params"]


def as_jax(tree):
    return jax.tree.map(jnp.asarray, tree)


def assert_gradients(entries, ours, case, prefix, rtol, loose=()):
    """Compares every gradient in the file; `loose` names are zero in exact arithmetic."""
    ours = mapping.build_state(entries, ours)
    theirs = case.group(prefix)
    largest = max(np.abs(value).max() for value in theirs.values())
    for name, value in theirs.items():
        if any(part in name for part in loose):
            width = value.shape[0] // 3
            keep = np.r_[:width, 2 * width : 3 * width]
            assert_close(ours[name][keep], value[keep], rtol=rtol, name=prefix + name)
            assert np.abs(ours[name] - value).max() <= rtol * largest, prefix + name
        else:
            assert_close(ours[name], value, rtol=rtol, name=prefix + name)


def check_attn(case: Case) -> None:
    """One attention layer: forward, gradients, probabilities, step by step and from a prefix."""
    hps = case.hps
    kind = AttentionKind(hps["attn_func"])
    config = TransformerConfig(
        emb_dim=hps["n_in"],
        num_layers=1,
        num_heads=hps["n_head"],
        seq_len=hps["n_ctx"],
        num_blocks=hps["blocks"],
        attn_ratio=hps["n_state"] / hps["n_in"],
        spread=hps.get("spread") or 1,
        lyric_len=hps.get("prime_len") or 0,
        encoder_len=hps.get("encoder_dims") or 0,
    )
    assert config.attn_dim == hps["n_state"]
    layer = Attention(config, kind)
    x, states = jnp.asarray(case["in/x"]), case.get("in/encoder_kv")
    states = None if states is None else jnp.asarray(states)
    entries = list(openai_prior.attention_entries(kind))
    cross = kind == AttentionKind.ENCODER_DECODER
    shapes = shapes_of(layer.init, x, states if cross else None)
    params = as_jax(mapping.build_tree(entries, case.group("param/"), shapes))

    def forward(params, x, states):
        return layer.apply({"params": params}, x, states)[0]

    out, pullback = jax.vjp(forward, params, x, states)
    slow, probs, _ = layer.apply({"params": params}, x, states, probabilities=True)
    for name in ("out/y_train", "out/y_eval"):
        assert_close(out, case[name], rtol=LAYER, name=name)
        assert_close(slow, case[name], rtol=LAYER, name=f"{name} with probabilities")
    grad_params, grad_x, grad_states = pullback(jnp.asarray(case["in/cot"]))
    assert_close(grad_x, case["out/grad/x"], rtol=LAYER, name="grad x")
    if cross:
        assert_close(grad_states, case["out/grad/encoder_kv"], rtol=LAYER, name="grad states")
    loose = () if cross else ("c_attn.b",)
    assert_gradients(entries, grad_params, case, "out/grad/param/", LAYER, loose)
    assert_close(
        theirs_probabilities(kind, probs, config, hps), case["out/w_eval"], rtol=LAYER, name="w"
    )

    grid, batch = config.grid, x.shape[0]
    names = ["out/y_sample", *(f"out/y_chunk{size}" for size in hps["chunk_sizes"])]
    starts = {0: names[0]} | {
        size % hps["n_ctx"]: f"out/y_chunk{size}" for size in hps["chunk_sizes"]
    }

    @jax.jit
    def fill(length):
        _, _, (key, value) = layer.apply({"params": params}, x, states)
        return caches.fill(kind, grid, key, value, length)

    @jax.jit
    def step(cache, x, position):
        return layer.apply({"params": params}, x, cache, position, method=layer.step)

    for start, name in starts.items():
        cache = fill(jnp.int32(start))
        shape = caches.cache_shape(
            kind, grid, batch, config.num_heads, config.head_dim, config.encoder_len
        )
        assert cache.key.shape == shape
        outs = []
        for position in range(start, hps["n_ctx"]):
            out, cache = step(cache, x[:, position], jnp.int32(position))
            outs.append(out)
        theirs = case[name][:, start:] if name in case else case["out/y_eval"][:, start:]
        assert_close(jnp.stack(outs, 1), theirs, rtol=LAYER, name=f"{name} from {start}")


def theirs_probabilities(kind, probs, config, hps):
    """Our probabilities in the layout of OpenAI's: grid rows or columns folded into the batch."""
    probs = np.asarray(probs)
    if kind in (1, 2, 3):  # ours [B, R or L, H, q, k]
        return probs.reshape(-1, *probs.shape[2:])
    if kind == AttentionKind.PRIME:
        return probs[:, :, hps["prime_len"] :, : hps["prime_len"]]
    return probs


def car_config(hps: dict) -> AutoregressiveConfig:
    return AutoregressiveConfig(
        vocab_size=hps["bins"],
        transformer=TransformerConfig(
            emb_dim=hps["width"],
            num_layers=hps["depth"],
            num_heads=hps["heads"],
            seq_len=hps["n_ctx"],
            num_blocks=hps["blocks"],
            attn_order=hps["attn_order"],
            attn_ratio=hps["m_attn"],
            mlp_ratio=hps["m_mlp"],
            init_scale=hps["init_scale"],
            res_scale=hps["res_scale"],
            zero_out=hps["zero_out"],
            spread=hps.get("spread") or 8,
            lyric_len=hps.get("prime_len") or 0,
            encoder_len=hps.get("encoder_dims") or 0,
        ),
        labelled=hps["y_cond"],
        merged_decoder=hps["merged_decoder"],
        has_output=not hps.get("only_encode", False),
    )


def check_car(case: Case) -> None:
    """The whole model: loss, logits, activations, gradients, greedy, Gumbel and primed tokens."""
    hps = case.hps
    config = car_config(hps)
    model = Autoregressive(config)
    codes = jnp.asarray(case["in/x"], jnp.int32)
    inputs = Conditions(
        *(
            None if case.get(name) is None else jnp.asarray(case[name])
            for name in ("in/x_cond", "in/y_cond", "in/encoder_kv")
        )
    )
    if inputs.label_emb is not None:
        inputs = inputs._replace(label_emb=inputs.label_emb[:, 0])
    entries = list(openai_prior.autoregressive_entries(config))
    shapes = shapes_of(model.init, codes, inputs)
    params = as_jax(mapping.build_tree(entries, case.group("param/"), shapes))

    def predict(params, inputs):
        return model.apply({"params": params}, codes, inputs)

    acts = model.apply({"params": params}, codes, inputs, method=model.activations)
    if not config.has_output:
        for split in ("train", "eval"):
            assert_close(acts, case[f"out/{split}/acts"], rtol=MODEL, name=f"{split} acts")
        # An encoder has no loss of its own: the file's is sum(acts * linspace(-1, 1)).
        cotangent = jnp.linspace(-1.0, 1.0, acts.size).reshape(acts.shape)
        (grads,) = jax.vjp(lambda params: predict(params, inputs), params)[1](cotangent)
        assert_gradients(entries, grads, case, "out/train/grad/", MODEL, ("c_attn.b",))
        return

    def loss_fn(params, inputs):
        logits = predict(params, inputs)
        return bits(logits, codes), logits

    (loss, logits), (grads, grad_inputs) = jax.value_and_grad(loss_fn, (0, 1), has_aux=True)(
        params, inputs
    )
    for split in ("train", "eval"):
        assert_close(loss, case[f"out/{split}/loss"], rtol=LAYER, name=f"{split} loss")
        assert_close(logits, case[f"out/{split}/preds"], rtol=MODEL, name=f"{split} preds")
    conditioned = acts
    if inputs.code_cond is not None and not config.merged_decoder:
        conditioned = acts + inputs.code_cond
    assert_close(conditioned, case["out/eval/acts"], rtol=MODEL, name="acts")
    assert_gradients(entries, grads, case, "out/train/grad/", MODEL, ("c_attn.b",))
    for name, grad in zip(("x_cond", "y_cond", "encoder_kv"), grad_inputs, strict=True):
        golden = case.get(f"out/train/grad_in/{name}")
        if golden is not None:
            assert_close(grad.reshape(golden.shape), golden, rtol=MODEL, name=f"grad {name}")
    if hps["sample_supported"]:
        check_sampling(case, config, params, inputs)


def bits(logits, codes):
    chosen = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean() / jnp.log(2.0)


def check_sampling(case: Case, config: AutoregressiveConfig, params, inputs: Conditions) -> None:
    hps, batch = case.hps, case["in/x"].shape[0]
    weights = decoding.prepare_decode_weights(config, params, jnp.float32)
    seq_len = config.transformer.seq_len

    @jax.jit
    def prefill(codes, length):
        return decoding.prefill_caches(config, weights, codes, inputs, length)

    @jax.jit
    def step(caches, previous, position):
        return decoding.decode_step(config, weights, caches, previous, inputs, position)

    def run(start_codes, temperature, top_k, top_p, noise, stop=seq_len):
        given = start_codes.shape[1]
        codes = np.zeros((batch, seq_len), np.int32)
        codes[:, :given] = start_codes
        state = prefill(jnp.asarray(codes), jnp.int32(given))
        preds = []
        for position in range(given, stop):
            previous = jnp.asarray(codes[:, max(position - 1, 0)])
            logits, state = step(state, previous, jnp.int32(position))
            preds.append(logits)
            codes[:, position] = logits_ops.draw(
                logits,
                jnp.asarray(noise[:, position]),
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
            )
        return codes[:, :stop], jnp.stack(preds, 1)

    nothing = np.zeros((batch, 0), np.int32)
    silent = np.zeros((batch, seq_len, config.vocab_size), np.float32)
    tokens, preds = run(nothing, 0.0, 0, 0.0, silent)
    np.testing.assert_array_equal(tokens, case["out/greedy/tokens"])
    assert_close(preds, case["out/greedy/preds"], rtol=MODEL, name="greedy preds")

    # the compiled loop draws the same
    loop = jax.jit(
        lambda codes: (
            sample_tokens(
                lambda cache, previous, position: decoding.decode_step(
                    config, weights, cache, previous, inputs, position
                ),
                empty_or_prefilled(config, weights, inputs, codes),
                codes,
                start=0,
                stop=seq_len,
                noise=TrackNoise(jax.random.split(jax.random.key(0), batch), 0),
                temperature=jnp.float32(0.0),
                logits_filter=NO_FILTER,
            ).codes
        )
    )(jnp.zeros((batch, seq_len), jnp.int32))
    np.testing.assert_array_equal(loop, case["out/greedy/tokens"])

    gumbel = case["in/gumbel"]
    options = (hps["temp"], hps["top_k"], hps["top_p"])
    tokens, preds = run(nothing, *options, gumbel)
    np.testing.assert_array_equal(tokens, case["out/gumbel/tokens"])
    assert_close(preds, case["out/gumbel/preds"], rtol=MODEL, name="gumbel preds")
    partial = case.get("out/gumbel/partial_tokens_topk0")
    if partial is not None:
        tokens, _ = run(nothing, hps["temp"], 0, 0.0, gumbel, stop=partial.shape[1])
        np.testing.assert_array_equal(tokens, partial)
    for chunk in hps["chunk_sizes"]:
        golden = case[f"out/primed_chunk{chunk}/tokens"]
        prompt = golden[:, : hps["primed_len"]]
        tokens, preds = run(prompt, 0.0, 0, 0.0, silent)
        np.testing.assert_array_equal(tokens, golden)
        theirs = case[f"out/primed_chunk{chunk}/preds"][:, -preds.shape[1] :]
        assert_close(preds, theirs, rtol=MODEL, name=f"primed preds, chunk {chunk}")


def empty_or_prefilled(config, weights, inputs, codes):
    if AttentionKind.ENCODER_DECODER in config.transformer.pattern:
        return decoding.prefill_caches(config, weights, codes, inputs, jnp.int32(0))
    return empty_caches(config.transformer, codes.shape[0], jnp.float32)


def check_conditioner(case: Case) -> None:
    """The upsampler's conditioner, forward and gradients."""
    hps = case.hps
    config = CodeConditionerConfig(
        vocab_size=hps["bins"],
        downs=hps["down_t"],
        stride=hps["stride_t"],
        width=hps["width"],
        depth=hps["depth"],
        dilation_growth_rate=hps["dilation_growth_rate"],
        dilation_cycle=hps["dilation_cycle"],
        res_scale=hps["res_scale"],
        m_conv=hps["m_conv"],
        zero_out=hps["zero_out"],
        init_scale=hps["init_scale"],
        remat=bool(hps["checkpoint_res"]),
    )
    module = CodeConditioner(config, hps["out_width"])
    codes = jnp.asarray(case["in/z"], jnp.int32)
    extra = case.get("in/x_cond")
    extra = None if extra is None else jnp.asarray(extra)
    entries = list(openai_prior.conditioner_entries(config, checkpointed=config.remat))
    shapes = shapes_of(module.init, codes, extra)
    params = as_jax(mapping.build_tree(entries, case.group("param/"), shapes))
    out, pullback = jax.vjp(lambda p: module.apply({"params": p}, codes, extra), params)
    assert_close(out, case["out/x_cond_out"], rtol=LAYER, name="x_cond_out")
    (grads,) = pullback(jnp.asarray(case["in/cot"]))
    assert_gradients(entries, grads, case, "out/grad/", LAYER * 4)


def check_label_cond(case: Case) -> None:
    """Artist, genre and timing embeddings, and the timing bins."""
    hps = case.hps
    config = LabelConfig(
        num_genres=hps["y_bins"][0],
        num_artists=hps["y_bins"][1],
        max_genres=hps["max_bow_genre_size"],
        timing_bins=hps["t_bins"],
        min_duration=hps["min_duration"],
        max_duration=hps["max_duration"],
        sample_rate=hps["sr"],
    )
    timing = hps["include_time_signal"]
    module = LabelConditioner(config, hps["out_width"], hps["n_time"], timing, hps["init_scale"])
    labels = jnp.asarray(case["in/y"], jnp.int32)
    entries = list(openai_prior.label_entries(timing=timing))
    shapes = shapes_of(module.init, labels)
    params = as_jax(mapping.build_tree(entries, case.group("param/"), shapes))
    start, position = module.apply({"params": params}, labels)
    assert_close(start[:, None], case["out/start_emb"], rtol=LAYER, name="start")
    if timing:
        assert_close(position, case["out/pos_emb"], rtol=LAYER, name="pos")
        bins = compute_timing_bins(config, labels, hps["n_time"])
        for ours, theirs in openai_prior.TIMING_NAMES.items():
            golden = case.get(f"out/bins/{theirs}")
            if golden is not None:
                np.testing.assert_array_equal(bins[ours], golden)
    else:
        assert position is None
