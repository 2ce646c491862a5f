"""Golden checks of whole priors."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.data.lyrics import ALPHABETS
from jukejax.data.openai_labels import Version
from jukejax.inference import generate
from jukejax.inference.align import compute_lyric_attention
from jukejax.inference.conditioning import PriorInputs, PriorWeights, fit_length, prepare_weights
from jukejax.inference.token_loop import NO_FILTER
from jukejax.inference.window_program import WindowInputs, sample_windows
from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig, LyricsKind
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior import Prior, split_labels
from jukejax.models.prior_config import PriorConfig
from jukejax.models.prior_losses import compute_losses
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae import VQVAE
from jukejax.weights.openai import prior as openai_prior
from tests.golden.kinds.case import Case, Settings, assert_close
from tests.golden.kinds.parameters import as_jax, assert_gradients, load_params, load_vqvae
from tests.golden.kinds.vqvae import model_config as vqvae_config

MODEL = 1e-4
CALLS = "calls[level,n_past,n_zcond,sample_tokens,bs]"


# Options of OpenAI's code that are off in all of its models (docs/differences.md).
MISSING = ("pos_init", "y_cond_as_bias", "copy_input", "rel_attn")
# What no other label than those of a prior with labels, lyrics or an upper level has.
LABEL_NAMES = ("y_bins", "max_bow_genre_size", "t_bins", "min_duration", "max_duration")
LYRIC_NAMES = ("n_tokens", "n_vocab", "prime_loss_fraction", "single_enc_dec", "labels_v3")


def stack(hps: Settings, prefix: str, seq_len: int, width: str, depth: str) -> TransformerConfig:
    """Converts a transformer; names of the lyric encoder's settings start with "prime_"."""
    hps.ignore(f"{prefix}c_res", f"{prefix}c_attn", f"{prefix}c_mlp")  # recomputation, same results
    for name in MISSING:
        assert not hps.get(prefix + name, False), f"{prefix}{name} is not implemented"

    def get(name, default):
        value = hps.get(prefix + name)
        return default if value is None else value

    return TransformerConfig(
        emb_dim=hps[width],
        num_layers=hps[depth],
        num_heads=get("heads", 1),
        seq_len=seq_len,
        num_blocks=get("blocks", 1),
        attn_order=get("attn_order", 0),
        attn_ratio=get("m_attn", 0.25),
        mlp_ratio=get("m_mlp", 1.0),
        init_scale=get("init_scale", 1.0),
        res_scale=get("res_scale", False),
        zero_out=get("zero_out", False),
        spread=get("spread", 8),
        **{f"{name}_dropout": get(f"{name}_dropout", 0.0) for name in ("attn", "resid", "emb")},
    )


def prior_config(hps: Settings, vq_hps: Settings) -> PriorConfig:
    """Converts OpenAI's hyper-parameters, of which those with a default may be missing."""
    level, codec = hps["level"], vqvae_config(vq_hps)
    upper = labels = lyrics = None
    if level < codec.levels - 1:
        upper = CodeConditionerConfig(
            vocab_size=codec.codebook_size,
            downs=codec.downs[level + 1],
            stride=codec.strides[level + 1],
            width=hps["cond_width"],
            depth=hps["cond_depth"],
            dilation_growth_rate=hps.get("cond_dilation_growth_rate", 1),
            dilation_cycle=hps.get("cond_dilation_cycle"),
            res_scale=hps.get("cond_res_scale", False),
            m_conv=hps.get("cond_m_conv", 1.0),
            zero_out=hps.get("cond_zero_out", False),
            init_scale=hps["init_scale"],
            remat=bool(hps.get("cond_c_res", 0)),
        )
    if hps["labels"]:
        num_genres, num_artists = hps["y_bins"]
        labels = LabelConfig(
            num_artists=num_artists,
            num_genres=num_genres,
            max_genres=hps["max_bow_genre_size"],
            timing_bins=hps["t_bins"],
            min_duration=hps["min_duration"],
            max_duration=hps["max_duration"],
            sample_rate=vq_hps["sr"],
        )
    else:
        hps.ignore(*LABEL_NAMES)
        vq_hps.ignore("sr")
    use_tokens, num_tokens = hps.get("use_tokens"), hps.get("n_tokens")
    if use_tokens and num_tokens:
        version = Version.V3 if hps.get("labels_v3", False) else Version.V2
        assert hps["n_vocab"] == ALPHABETS[version].size
        single = hps.get("single_enc_dec", False)
        encoder = None
        if not single:
            encoder = stack(hps, "prime_", hps["n_tokens"], "prime_width", "prime_depth")
        lyrics = LyricsConfig(
            kind=LyricsKind.SINGLE if single else LyricsKind.SEPARATE,
            num_tokens=hps["n_tokens"],
            vocab_size=hps["n_vocab"],
            loss_fraction=hps["prime_loss_fraction"],
            encoder=encoder,
        )
    else:
        hps.ignore(*LYRIC_NAMES)
    return PriorConfig(
        level=level,
        codebook_size=codec.codebook_size,
        hop_length=codec.hops[level],
        transformer=stack(hps, "", hps["n_ctx"], "prior_width", "prior_depth"),
        upper=upper,
        labels=labels,
        lyrics=lyrics,
        merged_decoder=hps.get("merged_decoder", False),
    )


def load(config: PriorConfig, state: Mapping[str, np.ndarray]) -> tuple[list, dict]:
    """Returns (the entries, our parameters) of one prior in a file."""
    checkpointed = config.upper is None or config.upper.remat
    entries = list(openai_prior.prior_entries(config, checkpointed=checkpointed))
    return entries, load_params(entries, state)


def objective(config: PriorConfig):
    """Returns (params, codes, upper codes, labels) -> ((loss, results), gradients).

    The results are predictions, losses by part, and conditions.
    """
    model = Prior(config)

    def loss(params, codes, upper, labels):
        predictions, variables = model.apply(
            {"params": params},
            codes,
            upper,
            labels,
            method="compute_predictions",
            capture_intermediates=lambda module, method: method == "compute_conditions",
            mutable=["intermediates"],
        )
        (conditions,) = variables["intermediates"]["compute_conditions"]
        total, parts = compute_losses(config, predictions, codes, labels)
        return total, (predictions, parts, conditions)

    return jax.value_and_grad(loss, has_aux=True)


@functools.partial(jax.jit, static_argnums=0)
def lay_out(config: PriorConfig, params: dict) -> PriorWeights:
    """Lays out the parameters for decoding, in one program."""
    return prepare_weights(config, params, jnp.float32)


def check_inputs(case: Case) -> None:
    """Checks the inputs of a file against its hyper-parameters."""
    hps = case.hps
    assert len(case["in/z"]) == hps["batch"]
    partial = case.get("out/partial/z")
    if partial is not None:
        assert partial.shape[1] == hps["primed_len"] + hps["partial_extra"]
    assert hps.get("from_audio", False) == ("out/from_audio/loss" in case)
    hps.ignore("chunk_size")  # of the prompt's positions; they are causal, so it has no effect


def check_parts(parts: dict, theirs: dict, name: str) -> None:
    """Losses by part; takes them out of `theirs`."""
    for key in ("bpd", "gen_loss"):
        assert_close(parts["bits_per_code"], theirs.pop(f"metrics/{key}"), rtol=MODEL, name=name)
    golden = theirs.pop("metrics/prime_loss")
    assert_close(parts.get("bits_per_letter", 0.0), golden, rtol=MODEL, name=f"{name} prime")


def check_prior(case: Case) -> None:
    """Conditions, losses, logits, gradients; greedy, primed and partial sampling; alignment."""
    hps, out = case.hps, case.group("out/")
    check_inputs(case)
    config = prior_config(hps["hps"], hps["vq_hps"])
    state = case.group("param/")
    codec_state = {name: state.pop(name) for name in list(state) if name.startswith("vqvae::")}
    entries, params = load(config, state)
    codes = case["in/z"].astype(np.int32)
    upper = labels = None
    if config.upper is not None:
        upper = case["in/z_cond"].astype(np.int32)
    if config.labels is not None:  # OpenAI's labels may hold letters that the model ignores
        labels = case["in/y"][:, : config.label_width].astype(np.int32)

    results = jax.jit(objective(config))(params, codes, upper, labels)
    (total, (predictions, parts, conditions)), gradients = jax.device_get(results)
    if "x_cond" in out:
        music = conditions.code_cond[:, config.lyric_prefix :]
        assert_close(music, out.pop("x_cond"), rtol=MODEL, name="x_cond")
    if "y_cond" in out:
        assert_close(conditions.label_emb[:, None], out.pop("y_cond"), rtol=MODEL, name="y_cond")
    if "encoder_kv" in out:
        states = conditions.encoder_states
        assert_close(states, out.pop("encoder_kv"), rtol=MODEL, name="encoder_kv")
    if "prime_tokens" in out:
        theirs = out.pop("prime_tokens")
        if config.num_lyrics:
            np.testing.assert_array_equal(split_labels(config, labels)[1], theirs)

    logits = predictions.codes
    if config.lyric_prefix:
        logits = np.concatenate([predictions.lyrics, logits], axis=1)
    for split in ("train", "eval"):
        theirs = {k.removeprefix(f"{split}/"): out.pop(k) for k in list(out) if split in k}
        assert_close(total, theirs.pop("loss"), rtol=MODEL, name=f"{split} loss")
        assert_close(logits, theirs.pop("metrics/preds"), rtol=MODEL, name=f"{split} logits")
        check_parts(parts, theirs, split)
        assert all(name.startswith("grad/") for name in theirs), f"not checked: {sorted(theirs)}"
    assert_gradients(entries, gradients, case, "out/train/grad/", MODEL, ("c_attn.b",))

    weights = lay_out(config, params)
    check_sampling(case, config, weights, upper, labels, out)
    if "attn_weights" in out:
        ours = compute_lyric_attention(
            config, weights, PriorInputs(codes, upper, labels), hps["alignment_layer"]
        )
        assert_close(ours, out.pop("attn_weights"), rtol=MODEL, name="attn_weights")
    if "from_audio/loss" in out:
        check_audio(case, config, codec_state, total, out)
    assert not out, f"not checked: {sorted(out)}"


def check_sampling(case: Case, config: PriorConfig, weights, upper, labels, out: dict) -> None:
    """Greedy windows: from nothing, behind a prompt, and a few codes behind a prompt."""
    starts = {"greedy": 0, "primed": case.hps["primed_len"], "partial": case.hps["primed_len"]}
    keys = generate.make_item_keys(0, range(len(case["in/z"])), config.level)
    for name, start in starts.items():
        out.pop(f"{name}/min_margin", None)
        theirs = out.pop(f"{name}/z", None)
        if theirs is None:
            continue
        prompt = np.asarray(case["in/z"])[:, :start]
        filled = sample_windows(
            config,
            NO_FILTER,
            weights,
            WindowInputs(
                codes=fit_length(prompt, config.seq_len).astype(np.int32),
                upper_codes=upper,
                labels=labels,
                start=np.int32(start),
                stop=np.int32(theirs.shape[1]),
                offset=np.int32(0),
                keys=keys,
                temperature=np.float32(0.0),
            ),
        )
        filled = np.asarray(filled)[:, : theirs.shape[1]]
        np.testing.assert_array_equal(filled, theirs, err_msg=name)


def check_audio(case: Case, config: PriorConfig, state: dict, total, out: dict) -> None:
    """From audio to the loss and back to audio, through the VQ-VAE."""
    codec = Codec(case.hps["vq_hps"], state)
    codes = codec.encode(case["in/x"])[config.level]
    np.testing.assert_array_equal(codes, case["in/z"])
    assert_close(total, out.pop("from_audio/loss"), rtol=MODEL, name="from_audio loss")
    audio = codec.decode(codes, config.level)
    assert_close(audio, out.pop("from_audio/x_out"), rtol=MODEL, name="from_audio x_out")


class Codec:
    """The VQ-VAE of a file."""

    def __init__(self, hps: Settings, state: Mapping[str, np.ndarray]):
        config = vqvae_config(hps)
        prefix = "vqvae::"
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        params, codebook = load_vqvae(config, own)
        self.apply = jax.jit(VQVAE(config).apply, static_argnames=("level", "method"))
        self.variables = as_jax({"params": params, "codebook": codebook})

    def encode(self, audio: np.ndarray) -> list[np.ndarray]:
        codes = self.apply(self.variables, audio, method="encode")
        return [np.asarray(level, np.int32) for level in codes]

    def decode(self, codes: np.ndarray, level: int) -> jax.Array:
        codes = np.asarray(codes, np.int32)
        return self.apply(self.variables, codes, level=level, method="decode")
