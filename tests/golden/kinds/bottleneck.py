"""Golden checks of one codebook: codes, losses, averages and restarts, step after step."""

import functools
import re
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops import quantize
from jukejax.ops.quantize import Codebook, Draw
from tests.golden.kinds.case import Case, assert_close

LAYER = 1e-5


def read_draws(case: Case) -> Iterator[Draw]:
    """Yields the permutations and noises of a file, in the order in which they were drawn."""
    inputs = case.group("in/")

    def numbered(prefix: str) -> list[np.ndarray]:
        names = [name for name in inputs if re.fullmatch(rf"{prefix}_\d+", name)]
        return [inputs[name] for name in sorted(names, key=lambda n: int(n.rsplit("_", 1)[1]))]

    noises = next(filter(None, map(numbered, ("noise", "randn", "tile_noise"))), [])
    for i, rows in enumerate(numbered("perm")):
        yield Draw(rows, noises[i] if noises else None)


def _starting_codebook(case: Case) -> Codebook:
    """Empty, with the averages of the file, or restored from code vectors alone."""
    hps, vectors = case.hps, jnp.asarray(case["param/k"])
    assert vectors.shape == (hps["k_bins"], hps["emb_width"])
    if hps["mode"] == "init":
        return quantize.empty_codebook(*vectors.shape)
    if "in/k_sum" in case:
        averages = (jnp.asarray(case["in/k_sum"]), jnp.asarray(case["in/k_elem"]))
        low, spread = hps.get("k_elem_low", 0.0), hps.get("k_elem_spread", np.inf)
        assert low <= averages[1].min() + LAYER
        assert averages[1].max() <= low + spread + LAYER
        return Codebook(vectors, *averages, jnp.ones((), bool))
    return quantize.restore_codebook(vectors, num_tokens=hps.get("restore_num_tokens"))


@jax.jit
def _quantize(x: jax.Array, state: Codebook) -> dict:
    """Computes one forward pass of a codebook with its gradient, by OpenAI's names."""

    def objective(x):
        result = quantize.quantize_vectors(x, state.codebook)
        vectors = result.vectors.transpose(0, 2, 1)
        slope = jnp.linspace(-1, 1, vectors.size).reshape(vectors.shape)
        return result.commitment_loss + jnp.sum(vectors * slope), result

    gradient, result = jax.grad(objective, has_aux=True)(x)
    rows, _ = quantize.sum_halves(x, state.codebook.shape[1])
    encoded = quantize.find_nearest(rows, state.codebook)[0]
    return {
        "x_l": result.codes,
        "x_d": result.vectors.transpose(0, 2, 1),
        "commit_loss": result.commitment_loss,
        "metrics/fit": result.quantization_error,
        "metrics/pn": result.input_std,
        "encode": encoded,
        "decode": quantize.look_up(encoded, state.codebook).transpose(0, 2, 1),
        "grad_x": gradient.transpose(0, 2, 1),
    }


@functools.partial(jax.jit, static_argnames=("num_codes", "decay", "threshold"))
def _update(
    state: Codebook, rows: jax.Array, codes: jax.Array, draw: Draw, *, num_codes: int, **settings
) -> dict:
    """Computes the codebook after a step with its metrics, by OpenAI's names, and the new state."""
    fresh = quantize.select_rows(rows, num_codes, draw)
    state, metrics = quantize.update_codebook(state, rows, codes, fresh, **settings)
    return state, {
        **{f"metrics/{key}": value for key, value in metrics.items()},
        "k": state.codebook,
        "k_sum": state.codebook_sum,
        "k_elem": state.codebook_count,
        "k_rand": fresh,
        "restarted": state.codebook_count < settings["threshold"],
    }


def _compare(ours: Mapping, theirs: dict, name: str, *, rtol: float = LAYER) -> None:
    """Every array of `theirs`; integers and flags exactly."""
    for key, value in theirs.items():
        assert key in ours, f"{name}{key} is not computed"
        if value.dtype.kind in "iub" and not key.startswith("metrics/"):
            np.testing.assert_array_equal(ours[key], value, err_msg=name + key)
        else:
            assert_close(ours[key], value, rtol=rtol, name=name + key)


def compare_dk(ours: jax.Array, theirs: np.ndarray, codebook: np.ndarray, name: str) -> None:
    """The rms change of the codebook: a difference of near values, exact to their rounding."""
    atol = LAYER * float(np.sqrt(np.mean(np.square(np.asarray(codebook)))))
    np.testing.assert_allclose(ours, theirs, rtol=LAYER, atol=atol, err_msg=name)


def check_bottleneck(case: Case) -> None:
    """Training steps of one codebook with given random draws, then encode and decode."""
    hps, out = case.hps, case.group("out/")
    draws, state = read_draws(case), _starting_codebook(case)
    for step in range(hps["n_steps"]):
        name = f"s{step}/"
        theirs = _pop_group(out, name)
        x = case[f"in/x_{step}"].transpose(0, 2, 1)
        assert x.shape[:2] == (hps["batch"], hps["T"])
        rows = np.asarray(quantize.sum_halves(x, hps["emb_width"])[0]).reshape(-1, hps["emb_width"])
        if not state.initialised:
            first = quantize.select_rows(rows, hps["k_bins"], next(draws))
            state = quantize.start_codebook(first)
        ours = jax.device_get(_quantize(x, state))
        state, updated = _update(
            state,
            rows,
            ours["x_l"].reshape(-1),
            next(draws),
            num_codes=hps["k_bins"],
            decay=hps["mu"],
            threshold=hps["threshold"],
        )
        ours |= jax.device_get(updated)
        compare_dk(ours["metrics/dk"], theirs.pop("metrics/dk"), ours["k"], name + "dk")
        _compare(ours, theirs, name)

    ours = jax.device_get(_quantize(case["in/x_0"].transpose(0, 2, 1), state))
    _compare(ours, _pop_group(out, "final/"), "final/")
    assert not out, f"not checked: {sorted(out)}"


def _pop_group(arrays: dict, prefix: str) -> dict:
    """Removes the arrays with a prefix; returns them without it, and without a remark in (...)."""
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix).split("(")[0]: arrays.pop(name) for name in names}
