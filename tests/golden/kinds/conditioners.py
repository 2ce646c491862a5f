"""Golden checks of the conditioner on upper codes and of label embeddings."""

import jax
import numpy as np

from jukejax.models.conditioners import CodeConditioner, CodeConditionerConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.labels import LabelConditioner, compute_timing_bins
from jukejax.weights.openai import prior as openai_prior
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.parameters import LAYER, assert_gradients, load_params


def check_conditioner(case: Case) -> None:
    """Checks the upsampler's conditioner, forward and gradients."""
    hps = case.hps
    assert case["in/z"].shape == (hps["batch"], hps["n_in_tokens"])
    assert hps.get("with_x_cond", False) == ("in/x_cond" in case)
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
    codes, extra = case["in/z"].astype(np.int32), case.get("in/x_cond")
    entries = list(openai_prior.conditioner_entries(config, checkpointed=config.remat))
    params = load_params(entries, case.group("param/"))

    @jax.jit
    def run(params, cotangent):
        out, pullback = jax.vjp(lambda p: module.apply({"params": p}, codes, extra), params)
        return out, pullback(cotangent)[0]

    out, grads = run(params, case["in/cot"])
    assert_close(out, case["out/x_cond_out"], rtol=LAYER, name="x_cond_out")
    assert_gradients(entries, grads, case, "out/grad/", LAYER * 4)


def check_label_cond(case: Case) -> None:
    """Checks artist, genre and timing embeddings, and the timing bins."""
    hps = case.hps
    assert len(case["in/y"]) == hps["batch"]
    assert set(case["in/y"][:, 2]) == {hps["sample_length"]}
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
    labels = case["in/y"].astype(np.int32)
    entries = list(openai_prior.label_entries(timing=timing))
    params = load_params(entries, case.group("param/"))

    @jax.jit
    def run(params, labels):
        bins = compute_timing_bins(config, labels, hps["n_time"]) if timing else None
        return *module.apply({"params": params}, labels), bins

    start, position, bins = run(params, labels)
    assert_close(start[:, None], case["out/start_emb"], rtol=LAYER, name="start")
    if timing:
        assert_close(position, case["out/pos_emb"], rtol=LAYER, name="pos")
        for ours, theirs in openai_prior.TIMING_NAMES.items():
            golden = case.get(f"out/bins/{theirs}")
            if golden is not None:
                np.testing.assert_array_equal(bins[ours], golden)
    else:
        assert position is None
