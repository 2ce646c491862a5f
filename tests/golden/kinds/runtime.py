"""Golden checks of single operations, optimization and window plans."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference import windows
from jukejax.models.projection import LayerNorm, Projection
from jukejax.ops import logits as logits_ops
from jukejax.ops.formulas import quick_gelu
from jukejax.training import loss_scale, optim
from tests.golden.kinds.case import Case, assert_close

EXACT, LAYER = 1e-6, 1e-5
# OpenAI's names. The models use relu (VQ-VAE, conditioner) and quick_gelu (transformer).
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "swish": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": quick_gelu,
}


def check_ops(case: Case) -> None:
    """Activations and their gradients, linear layer, layer norm, logit filters."""
    hps = case.hps
    x = case["in/x"]
    assert x.shape == (hps["rows"], hps["n_in"])
    assert case["in/logits"].shape[-1] == hps["bins"]

    @jax.jit
    def differentiate(x):
        results = {}
        for name in case.group("out/act/"):
            out, pullback = jax.vjp(ACTIVATIONS[name], x)
            results[name] = out, pullback(jnp.ones_like(x))[0]
        return results

    for name, (out, grad) in differentiate(x).items():
        assert_close(out, case[f"out/act/{name}"], rtol=LAYER, name=name)
        assert_close(grad, case[f"out/act_grad/{name}"], rtol=LAYER, name=f"grad {name}")

    params = case.group("param/")
    linear = {"kernel": params["conv1d.w"], "bias": params["conv1d.b"]}
    layer = Projection(hps["n_out"], 0.02, ("embed", "mlp"))
    out = jax.jit(layer.apply)({"params": linear}, x)
    assert_close(out, case["out/conv1d"], rtol=LAYER, name="conv1d")

    norm = {"params": {"scale": params["ln.weight"], "bias": params["ln.bias"]}}
    normalize = jax.jit(LayerNorm().apply)
    out = normalize(norm, x)
    assert_close(out, case["out/layernorm"], rtol=LAYER, name="layernorm")
    half = normalize(norm, x.astype(np.float16))
    assert half.dtype == case["out/layernorm_half_in"].dtype
    # Both round to float16 at the end: one unit in the last place may differ.
    assert_close(half, case["out/layernorm_half_in"], rtol=2**-10, name="layernorm_half_in")

    options = [("top_k", value) for value in hps["top_ks"]]
    options += [("top_p", value) for value in hps["top_ps"]]
    filter_all = jax.jit(
        lambda logits: [logits_ops.filter_logits(logits, **dict([option])) for option in options]
    )
    for (option, value), ours in zip(options, filter_all(case["in/logits"]), strict=True):
        golden = case[f"out/filter_{option}_{value}"]
        np.testing.assert_array_equal(ours, golden, err_msg=f"{option}={value}")


# OpenAI's names of what `OptimizerConfig` holds, with their defaults.
OPTIMIZER = {
    "lr": 0.0003,
    "lr_scale": 1.0,
    "lr_warmup": 100.0,
    "lr_decay": 10_000_000_000.0,
    "lr_gamma": 1.0,
    "lr_use_linear_decay": False,
    "lr_start_linear_decay": 0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "clip": 1.0,
    "ignore_grad_norm": 0.0,
}


UNUSED = {"epochs", "lr_use_cosine_decay"}  # no effect in OpenAI's code either


def optimizer_config(over: Mapping) -> optim.OptimizerConfig:
    unknown = over.keys() - OPTIMIZER.keys() - UNUSED
    assert not unknown, f"unknown optimizer settings {unknown}"
    hps = {**OPTIMIZER, **over}
    return optim.OptimizerConfig(
        learning_rate=hps["lr"] * hps["lr_scale"],
        warmup_steps=hps["lr_warmup"],
        decay_start=hps["lr_start_linear_decay"] if hps["lr_use_linear_decay"] else None,
        decay_steps=hps["lr_decay"],
        gamma=hps["lr_gamma"],
        beta1=hps["beta1"],
        beta2=hps["beta2"],
        eps=hps["eps"],
        weight_decay=hps["weight_decay"],
        clip=hps["clip"],
        skip_norm=hps["ignore_grad_norm"],
        adam="openai",
    )


def check_opt(case: Case) -> None:
    """Learning rates, Adam with clipping, the three moving averages, the loss scale."""
    hps = case.hps
    for index, schedule in enumerate(hps["lr_hps"]):
        rate = jax.jit(jax.vmap(optim.make_schedule(optimizer_config(schedule["over"]))))
        golden = case[f"out/lr_{index}/lr"]
        steps = case[f"out/lr_{index}/steps"]
        np.testing.assert_array_equal(steps, schedule["steps"])
        assert_close(rate(steps), golden, rtol=EXACT, name=f"lr_{index}")
        first = case[f"out/lr_{index}/first5_used"]
        assert_close(rate(np.arange(len(first))), first, rtol=EXACT, name=f"first of lr_{index}")
    check_adam(case)
    averages = case["out/ema_default_mu[bs,ngpus->mu]"]
    np.testing.assert_array_equal(averages[:, :2], hps["ema_default_mu"])
    for batch, devices, decay in averages:
        ours = optim.ema_decay(optim.OptimizerConfig(), int(batch * devices))
        assert_close(ours, decay, rtol=EXACT, name="ema decay")
    scale, ours = jnp.float32(loss_scale.LossScaleConfig().initial), []
    for overflow in hps["overflows"]:
        scale = loss_scale.update_scale(scale, not overflow, window=hps["fp16_scale_window"])
        ours.append(np.asarray(scale))
    assert_close(np.stack(ours), case["out/loss_scale"], rtol=EXACT, name="loss scale")


def check_adam(case: Case) -> None:
    """Clipped steps, weights, both moments and the averages after each.

    NOTE: on a CPU, OpenAI's `CPUEMA` keeps its average in the very memory of the weights: every
    `freq` steps it shrinks the weights by mu and then mixes them with themselves. The golden run
    carries that on from step to step, so it is done to our weights here as well.
    """
    hps = case.hps
    config = optimizer_config(hps["adam"])
    optimizer, rate = optim.make_optimizer(config), optim.make_schedule(config)
    params = case.group("param/")
    decay, every = hps["ema_mu"], hps["cpu_ema_freq"]
    average, state = params, jax.jit(optimizer.init)(params)

    @jax.jit
    def step(params, state, average, grads):
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        return params, state, optim.update_ema(average, params, decay)

    @jax.jit
    def shrink(params):
        shrunk = jax.tree.map(lambda leaf: decay**every * leaf, params)
        return optim.update_ema(params, shrunk, decay**every)

    for number in range(hps["n_steps"]):
        golden = case.group(f"out/s{number}/")
        grads = {name: case[f"in/g{number}_{name}"] for name in params}
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        assert_close(norm, golden["grad_norm"], rtol=LAYER, name="grad_norm")
        clip = np.maximum(1.0, norm / config.clip) if config.clip else 1.0
        assert_close(clip, golden["clip_scale"], rtol=LAYER, name="clip_scale")
        assert_close(rate(number), golden["lr"], rtol=EXACT, name="lr")
        params, state, average = step(params, state, average, grads)
        if (number + 1) % every == 0:
            params = shrink(params)
        (adam,) = (part for part in state if isinstance(part, optim.AdamState))
        for name in params:
            for ours, theirs in (
                (params, name),
                (params, f"cpuema_{name}"),
                (adam.mu, f"exp_avg_{name}"),
                (adam.nu, f"exp_avg_sq_{name}"),
                (average, f"ema_{name}"),
            ):
                assert_close(ours[name], golden[theirs], rtol=LAYER, name=f"s{number}/{theirs}")
        flat = np.concatenate([np.ravel(average[name]) for name in sorted(average)])
        assert_close(flat, golden["fusedema_flat"], rtol=LAYER, name=f"s{number}/fusedema_flat")


def check_windows(case: Case) -> None:
    """Starts, and every window of whole runs: what it keeps, samples and is told."""
    hps = case.hps
    for index, arguments in enumerate(hps["starts_args"]):
        starts = windows.list_window_starts(*arguments)
        np.testing.assert_array_equal(starts, case[f"out/starts_{index}"], err_msg=str(arguments))
    for index, schedule in enumerate(hps["schedules"]):
        rows, lengths = planned_rows(schedule)
        np.testing.assert_array_equal(lengths, case[f"out/schedule_{index}/z_lengths"])
        np.testing.assert_array_equal(rows, case[f"out/schedule_{index}/log"])
    for index, partial in enumerate(hps["partial"]):
        check_partial(partial, case.group(f"out/partial_{index}/"))


def planned_rows(schedule: dict) -> tuple[np.ndarray, list[int]]:
    """(rows as in the golden log, codes by level) of an ancestral or primed run.

    A row: level, start, end, codes kept, codes sampled, label offset and length in samples, first
    code and number of codes of the level above (-1 at the top).
    """
    assert schedule["offset"] + schedule["sample_length"] <= schedule["total_length"]
    hops = np.cumprod(schedule["downsamples"]).tolist()
    lengths = [schedule["sample_length"] // hop for hop in hops]
    rows = []
    for level in reversed(range(len(hops))):
        seq_len = schedule["n_ctx"][level]
        hop = int(schedule["hop_fraction"][level] * seq_len)
        prompt = schedule["primed_tokens"][level]
        for window in windows.plan_windows(lengths[level], seq_len, hop, prompt):
            ratio = schedule["downsamples"][level + 1] if level + 1 < len(hops) else 0
            rows.append(
                [
                    level,
                    window.start,
                    window.start + seq_len,
                    window.fixed,
                    window.stop - window.fixed,
                    schedule["offset"] + window.start * hops[level],
                    seq_len * hops[level],
                    window.start // ratio if ratio else -1,
                    seq_len // ratio if ratio else -1,
                ]
            )
    return np.array(rows), lengths


def plan_partial_window(done: int, new: int, seq_len: int) -> windows.Window:
    """Returns the window that adds `new` codes after `done`, with as many before as fit."""
    start = max(done + new - seq_len, 0)
    return windows.Window(start, done - start, done - start + new)


def check_partial(partial: dict, golden: dict[str, np.ndarray]) -> None:
    """A level that grows by a few codes at a time, in the window that ends with them."""
    done, seq_len = partial["current"], partial["n_ctx"]
    for new, row in zip(partial["tokens_to_sample"], golden["log"], strict=True):
        window = plan_partial_window(done, new, seq_len)
        ours = [window.start, window.start + seq_len, window.fixed, window.stop - window.fixed]
        np.testing.assert_array_equal(ours, row[1:5])
        done += new
    assert done == golden["z_length"]
