"""Golden checks of one codebook: codes, losses, averages and restarts, step after step."""

import re
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops import quantize
from jukejax.ops.quantize import Codebook, Draw
from tests.golden.kinds.case import Case, assert_close

LAYER = 1e-5


def given_draws(case: Case) -> Iterator[Draw]:
    """The permutations and noises of a file, in the order in which they were drawn."""
    inputs = case.group("in/")

    def numbered(prefix: str) -> list[np.ndarray]:
        names = [name for name in inputs if re.fullmatch(rf"{prefix}_\d+", name)]
        return [inputs[name] for name in sorted(names, key=lambda n: int(n.rsplit("_", 1)[1]))]

    noises = next((found for p in ("noise", "randn", "tile_noise") if (found := numbered(p))), [])
    for i, rows in enumerate(numbered("perm")):
        yield Draw(jnp.asarray(rows), jnp.asarray(noises[i]) if noises else None)


def _starting_codebook(case: Case) -> Codebook:
    """Empty, given with its averages, or restored from code vectors alone."""
    hps, vectors = case.hps, jnp.asarray(case["param/k"])
    if hps["mode"] == "init":
        return quantize.empty_codebook(*vectors.shape)
    if "in/k_sum" in case:
        averages = (jnp.asarray(case["in/k_sum"]), jnp.asarray(case["in/k_elem"]))
        return Codebook(vectors, *averages, jnp.ones((), bool))
    return quantize.restore_codebook(vectors, num_tokens=hps.get("num_tokens"))


def _quantized(x: jax.Array, state: Codebook, wanted: Mapping) -> dict:
    """What one forward pass of a codebook gives, by OpenAI's names; a gradient if wanted."""

    def objective(x):
        given = quantize.quantize_vectors(x, state.codebook)
        vectors = given.vectors.transpose(0, 2, 1)
        slope = jnp.linspace(-1, 1, vectors.size).reshape(vectors.shape)
        return given.commitment_loss + jnp.sum(vectors * slope), given

    gradient, given = jax.grad(objective, has_aux=True)(x)
    ours = {
        "x_l": given.codes,
        "x_d": given.vectors.transpose(0, 2, 1),
        "commit_loss": given.commitment_loss,
        "metrics/fit": given.quantization_error,
        "metrics/pn": given.input_std,
    }
    names = [name for name in wanted if name.startswith("grad_x")]
    return ours | {name: gradient.transpose(0, 2, 1) for name in names}


def _compare(ours: Mapping, theirs: dict, name: str, *, rtol: float = LAYER) -> None:
    """Every array of `theirs`; integers and flags exactly."""
    for key, value in theirs.items():
        assert key in ours, f"{name}{key} is not computed"
        if value.dtype.kind in "iub" and not key.startswith("metrics/"):
            np.testing.assert_array_equal(ours[key], value, err_msg=name + key)
        else:
            assert_close(ours[key], value, rtol=rtol, name=name + key)


def compare_dk(ours: jax.Array, theirs: np.ndarray, codebook: jax.Array, name: str) -> None:
    """The rms change of the codebook: a difference of near values, exact to their rounding."""
    atol = LAYER * float(jnp.sqrt(jnp.mean(jnp.square(codebook))))
    np.testing.assert_allclose(ours, theirs, rtol=LAYER, atol=atol, err_msg=name)


def check_bottleneck(case: Case) -> None:
    """Training steps of one codebook with given random draws, then encode and decode."""
    hps, out = case.hps, case.group("out/")
    draws, state = given_draws(case), _starting_codebook(case)
    for step in range(hps["n_steps"]):
        name = f"s{step}/"
        theirs = {k.removeprefix(name): out.pop(k) for k in list(out) if k.startswith(name)}
        x = jnp.asarray(case[f"in/x_{step}"]).transpose(0, 2, 1)
        rows = x.reshape(-1, x.shape[-1])
        if not state.initialised:
            first = quantize.select_rows(rows, hps["k_bins"], next(draws))
            state = quantize.start_codebook(first)
        ours = _quantized(x, state, theirs)
        fresh = quantize.select_rows(rows, hps["k_bins"], next(draws))
        state, metrics = quantize.update_codebook(
            state,
            rows,
            ours["x_l"].reshape(-1),
            fresh,
            decay=hps["mu"],
            threshold=hps["threshold"],
        )
        compare_dk(metrics["dk"], theirs.pop("metrics/dk"), state.codebook, name + "dk")
        ours |= {f"metrics/{key}": value for key, value in metrics.items()}
        ours |= {"k": state.codebook, "k_sum": state.codebook_sum, "k_elem": state.codebook_count}
        ours |= {"k_rand": fresh, "restarted": state.codebook_count < hps["threshold"]}
        _compare(ours, theirs, name)

    x = jnp.asarray(case["in/x_0"]).transpose(0, 2, 1)
    theirs = {k.removeprefix("final/"): out.pop(k) for k in list(out) if k.startswith("final/")}
    ours = _quantized(x, state, theirs)
    ours["encode"] = quantize.find_nearest(x, state.codebook)[0]
    ours["decode"] = quantize.look_up(ours["encode"], state.codebook).transpose(0, 2, 1)
    _compare(ours, theirs, "final/")
    assert not out, f"not checked: {sorted(out)}"
