"""Golden checks of whole training steps, of a prior or a VQ-VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jukejax.ops.stft import Bandwidth
from jukejax.training import optim
from jukejax.training.optim import make_optimizer, make_schedule, update_ema
from jukejax.weights import mapping
from jukejax.weights.openai import parts
from tests.golden.kinds import vqvae
from tests.golden.kinds.case import Case, Settings, assert_close
from tests.golden.kinds.losses import loss_config
from tests.golden.kinds.prior import MODEL, check_parts, load, objective, prior_config
from tests.golden.kinds.runtime import OPTIMIZER, optimizer_config

RATE = 1e-5


def check_train(case: Case) -> None:
    """Checks whole optimization steps, of a prior or of a VQ-VAE."""
    hps = case.hps["hps"]
    assert hps["train"]
    if hps.get("prior"):
        check_train_prior(case)
    else:
        check_train_vqvae(case)


class Optimizer:
    """OpenAI's optimizer of a file, and the moving average of its weights."""

    def __init__(self, case: Case):
        hps: Settings = case.hps["hps"]
        self.config = optimizer_config({name: hps[name] for name in OPTIMIZER if name in hps})
        self.adam, self.rate = make_optimizer(self.config), make_schedule(self.config)
        self.decay = case.hps["ema_mu"]

    def start(self, params):
        """Returns the state (params, average, Adam's state) of weights."""
        return params, params, jax.jit(self.adam.init)(params)

    def step(self, number, state, loss, gradients):
        """Returns the new state, and the figures that OpenAI logs."""
        params, average, adam = state
        norm = optax.tree.norm(gradients)
        updates, adam = self.adam.update(gradients, adam, params)
        params = optax.apply_updates(params, updates)
        updated = params, update_ema(average, params, self.decay), adam
        accepted = optim.accepts_norm(self.config, norm)
        state = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), updated, state)
        return state, {"lr": self.rate(number), "loss": loss, "grad_norm": norm}


def pop_step(out: dict, number: int) -> dict:
    """Removes the results of a step, and returns them without their prefix."""
    prefix = f"s{number}/"
    return {k.removeprefix(prefix): out.pop(k) for k in list(out) if k.startswith(prefix)}


def check_figures(figures: dict, theirs: dict, number: int) -> None:
    """Checks rate, loss and gradient norm of a step, and removes them from `theirs`."""
    for name, rtol in {"lr": RATE, "loss": MODEL, "grad_norm": MODEL}.items():
        assert_close(figures[name], theirs.pop(name), rtol=rtol, name=f"s{number}/{name}")


def check_train_prior(case: Case) -> None:
    """Checks steps of a prior: loss, gradient norm, rate; then weights and their averages."""
    hps, out = case.hps["hps"], case.group("out/")
    case.hps.ignore("bandwidth")  # of audio; a prior's loss has none
    config = prior_config(hps, hps)
    entries, params = load(config, case.group("param/"))
    optimizer, differentiate = Optimizer(case), objective(config)
    state = optimizer.start(params)

    @jax.jit
    def step(number, state, inputs):
        (total, (_, parts, _)), gradients = differentiate(state[0], *inputs)
        return *optimizer.step(number, state, total, gradients), parts

    for i in range(case.hps["n_steps"]):
        theirs = pop_step(out, i)
        inputs = [case.get(f"in/{name}_{i}") for name in ("z", "z_cond", "y")]
        inputs = [None if value is None else value.astype(np.int32) for value in inputs]
        assert len(inputs[0]) == case.hps["batch"]
        if inputs[2] is not None:
            inputs[2] = inputs[2][:, : config.label_width]
        state, figures, parts = step(np.int32(i), state, inputs)
        check_figures(figures, theirs, i)
        check_parts(parts, theirs, f"s{i}")
        assert not theirs, f"not checked: {sorted(theirs)}"
    for kind, tree in {"param": state[0], "ema": state[1]}.items():
        ours = mapping.build_state(entries, tree)
        for key in [key for key in out if key.startswith(f"final/{kind}/")]:
            name = key.removeprefix(f"final/{kind}/")
            assert_close(ours[name], out.pop(key), rtol=MODEL, name=key)
    assert not out, f"not checked: {sorted(out)}"


def check_train_vqvae(case: Case) -> None:
    """Checks steps of a VQ-VAE, with metrics and codebooks; then weights and their averages."""
    hps, out = case.hps["hps"], case.group("out/")
    config = vqvae.model_config(hps)
    loss, scale = loss_config(hps, hps), Bandwidth(**case.hps["bandwidth"])
    variables = vqvae.load_variables(config, case)
    optimizer, differentiate = Optimizer(case), vqvae.make_gradient(config, loss, scale)
    state, codebook = optimizer.start(variables["params"]), variables["codebook"]

    @jax.jit
    def step(number, state, codebook, audio):
        results, gradients = differentiate(state[0], codebook, audio)
        total, (_, metrics, codebook) = results
        return *optimizer.step(number, state, total, gradients), metrics, codebook

    for i in range(case.hps["n_steps"]):
        theirs, audio = pop_step(out, i), case[f"in/x_{i}"]
        assert audio.shape[:2] == (case.hps["batch"], hps["sample_length"])
        state, figures, metrics, codebook = step(np.int32(i), state, codebook, audio)
        check_figures(figures, theirs, i)
        expected = {k.removeprefix("metrics/"): v for k, v in theirs.items() if "metrics/" in k}
        vqvae.check_metrics(metrics, expected, codebook, f"s{i}/metrics/")
        assert len(expected) == len(theirs), f"not checked: {sorted(theirs)}"

    theirs = {k.removeprefix("final/"): out.pop(k) for k in list(out) if k.startswith("final/")}
    vqvae.check_codebooks(codebook, theirs, "final/")
    for kind, tree in {"param": state[0], "ema": state[1]}.items():
        ours = parts.part_state(config, {"params": tree, "extra": codebook})
        for key in [key for key in theirs if key.startswith(f"{kind}/")]:
            name = key.removeprefix(f"{kind}/")
            assert_close(ours[name], theirs.pop(key), rtol=MODEL, name=f"final/{key}")
    assert not theirs, f"not checked: {sorted(theirs)}"
    assert not out, f"not checked: {sorted(out)}"
