"""Golden checks of the autoregressive model: teacher-forced, and its parameters."""

import jax
import jax.numpy as jnp

from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.openai import prior as openai_prior
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.decoding import check_sampling
from tests.golden.kinds.parameters import LAYER, MODEL, as_jax, assert_gradients, load_params


def car_config(hps: dict) -> AutoregressiveConfig:
    """Returns the configuration of a case."""
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
            causal=hps.get("mask", True),
        ),
        labeled=hps["y_cond"],
        merged_decoder=hps["merged_decoder"],
        has_output=not hps.get("only_encode", False),
    )


def check_car(case: Case) -> None:
    """Checks loss, logits, activations and gradients, then sampled tokens."""
    config = car_config(case.hps)
    check_inputs(case)
    model = Autoregressive(config)
    codes = jnp.asarray(case["in/x"], jnp.int32)
    conditions = read_conditions(case)
    entries = list(openai_prior.autoregressive_entries(config))
    params = load_params(entries, case.group("param/"))
    if not config.has_output:
        check_encoder(case, model, params, codes, conditions)
        return
    acts, loss, logits, grads, grad_conditions = differentiate(model, params, codes, conditions)
    for split in ("train", "eval"):
        assert_close(loss, case[f"out/{split}/loss"], rtol=LAYER, name=f"{split} loss")
        assert_close(logits, case[f"out/{split}/preds"], rtol=MODEL, name=f"{split} preds")
    if conditions.code_cond is not None and not config.merged_decoder:
        acts = acts + conditions.code_cond
    assert_close(acts, case["out/eval/acts"], rtol=MODEL, name="acts")
    assert_gradients(entries, grads, case, "out/train/grad/", MODEL, ("c_attn.b",))
    for name, grad in zip(("x_cond", "y_cond", "encoder_kv"), grad_conditions, strict=True):
        golden = case.get(f"out/train/grad_in/{name}")
        if golden is not None:
            assert_close(grad.reshape(golden.shape), golden, rtol=MODEL, name=f"grad {name}")
    if case.hps["sample_supported"]:
        check_sampling(case, config, params, conditions)


def check_inputs(case: Case) -> None:
    """Checks the inputs of a file against its hyper-parameters."""
    hps = case.hps
    assert case["in/x"].shape == (hps["batch"], hps["n_ctx"])
    if not (hps["sample_supported"] and "out/greedy/tokens" in case):
        hps.ignore("chunk_sizes", "primed_len", "temp", "top_k", "top_p")  # of its sampling
    length = None if "in/x_cond" not in case else case["in/x_cond"].shape[1]
    assert length == {"none": None, "single": 1, "full": hps["n_ctx"]}[hps["x_cond"]]


def read_conditions(case: Case) -> Conditions:
    """Returns the conditions of a case."""
    names = ("in/x_cond", "in/y_cond", "in/encoder_kv")
    conditions = Conditions(*map(case.get, names))
    if conditions.label_emb is not None:
        conditions = conditions._replace(label_emb=conditions.label_emb[:, 0])
    return as_jax(conditions)


def differentiate(model: Autoregressive, params: dict, codes, conditions: Conditions) -> tuple:
    """Computes activations, loss, logits, and the gradients of parameters and conditions."""

    def loss_fn(params, conditions):
        logits, variables = model.apply(
            {"params": params},
            codes,
            conditions,
            capture_intermediates=lambda module, method: method == "compute_activations",
            mutable=["intermediates"],
        )
        (acts,) = variables["intermediates"]["compute_activations"]
        return mean_bits(logits, codes), (acts, logits)

    gradient = jax.jit(jax.value_and_grad(loss_fn, (0, 1), has_aux=True))
    (loss, (acts, logits)), grads = gradient(params, conditions)
    return acts, loss, logits, *grads


def check_encoder(
    case: Case, model: Autoregressive, params: dict, codes, conditions: Conditions
) -> None:
    """Checks a model without output: activations, and gradients of their sum with weights.

    An encoder has no loss of its own: the file's is sum(acts * linspace(-1, 1)).
    """

    @jax.jit
    def run(params):
        acts, pullback = jax.vjp(lambda p: model.apply({"params": p}, codes, conditions), params)
        cotangent = jnp.linspace(-1.0, 1.0, acts.size).reshape(acts.shape)
        return acts, pullback(cotangent)[0]

    acts, grads = run(params)
    for split in ("train", "eval"):
        assert_close(acts, case[f"out/{split}/acts"], rtol=MODEL, name=f"{split} acts")
    entries = list(openai_prior.autoregressive_entries(model.config))
    assert_gradients(entries, grads, case, "out/train/grad/", MODEL, ("c_attn.b",))


def mean_bits(logits, codes):
    """Computes the mean cross entropy in bits."""
    target = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - target).mean() / jnp.log(2.0)
