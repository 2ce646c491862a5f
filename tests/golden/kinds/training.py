"""Golden checks of whole training steps, of a prior or a VQ-VAE."""

import jax
import numpy as np
import optax

from jukejax.training.optim import make_optimizer, make_schedule, update_ema
from jukejax.weights import mapping
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.prior import MODEL, check_parts, load, objective, prior_config
from tests.golden.kinds.runtime import OPTIMIZER, optimizer_config
from tests.golden.kinds.vqvae import check_train_vqvae

RATE = 1e-5


def check_train(case: Case) -> None:
    """Whole optimization steps, of a prior or of a VQ-VAE."""
    if case.hps["hps"].get("prior"):
        check_train_prior(case)
    else:
        check_train_vqvae(case)


def check_train_prior(case: Case) -> None:
    """Whole optimization steps: loss, gradient norm, rate; then weights and their averages."""
    hps, out = case.hps["hps"], case.group("out/")
    config = prior_config(hps, hps)
    entries, params = load(config, case.group("param/"))
    settings = optimizer_config({name: hps[name] for name in OPTIMIZER if name in hps})
    optimizer, rate, differentiate = (
        make_optimizer(settings),
        make_schedule(settings),
        objective(config),
    )
    average, state = params, jax.jit(optimizer.init)(params)

    @jax.jit
    def step(number, params, average, state, inputs):
        (total, (_, parts, _)), gradients = differentiate(params, *inputs)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        average = update_ema(average, params, case.hps["ema_mu"])
        figures = {"lr": rate(number), "loss": total, "grad_norm": optax.tree.norm(gradients)}
        return params, average, state, figures, parts

    for i in range(case.hps["n_steps"]):
        theirs = {k.removeprefix(f"s{i}/"): out.pop(k) for k in list(out) if k.startswith(f"s{i}/")}
        inputs = [case.get(f"in/{name}_{i}") for name in ("z", "z_cond", "y")]
        inputs = [None if value is None else value.astype(np.int32) for value in inputs]
        if inputs[2] is not None:
            inputs[2] = inputs[2][:, : config.label_width]
        params, average, state, figures, parts = step(np.int32(i), params, average, state, inputs)
        for name, rtol in {"lr": RATE, "loss": MODEL, "grad_norm": MODEL}.items():
            assert_close(figures[name], theirs.pop(name), rtol=rtol, name=f"s{i}/{name}")
        check_parts(parts, theirs, f"s{i}")
        assert not theirs, f"not checked: {sorted(theirs)}"
    for kind, tree in {"param": params, "ema": average}.items():
        ours = mapping.build_state(entries, tree)
        for key in [key for key in out if key.startswith(f"final/{kind}/")]:
            name = key.removeprefix(f"final/{kind}/")
            assert_close(ours[name], out.pop(key), rtol=MODEL, name=key)
    assert not out, f"not checked: {sorted(out)}"
