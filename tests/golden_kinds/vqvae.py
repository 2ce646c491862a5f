"""Golden checks of the VQ-VAE, its codebook, its losses and its training step.

Each `check_*` takes one case, a mapping from array names to arrays as numpy.load gives it, and
asserts everything in it. Names and layouts are OpenAI's: [batch, channels, time], int64 codes.
"""

import json
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops import stft as stft_ops
from jukejax.ops.stft import STFT, Bandwidth

Case = Mapping[str, np.ndarray]

LAYER_RTOL = 1e-5  # single layers and losses
AUDIO_RTOL = 1e-4  # decoded audio and what is computed from it


def hparams(case: Case) -> dict:
    return json.loads(bytes(case["hparams"]).decode())


def group(case: Case, prefix: str) -> dict[str, np.ndarray]:
    """Arrays whose names start with `prefix`, without it."""
    return {name[len(prefix) :]: case[name] for name in case if name.startswith(prefix)}


def assert_close(actual, expected, *, rtol: float, name: str) -> None:
    """Equal to `rtol` of the array's largest value: single entries near zero carry its noise."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (name, actual.shape, expected.shape)
    atol = rtol * float(np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=name)


def _stfts(loss: dict) -> tuple[STFT, ...]:
    return tuple(
        STFT(n_fft, hop, window)
        for n_fft, hop, window in zip(
            loss["multispec_loss_n_fft"],
            loss["multispec_loss_hop_length"],
            loss["multispec_loss_window_size"],
            strict=True,
        )
    )


def check_audio(case: Case) -> None:
    """STFTs, losses with their gradients, bandwidth, mono."""
    h = hparams(case)
    loss, stfts = h["loss_hps"], _stfts(h["loss_hps"])
    out = group(case, "out/")
    target, output = jnp.asarray(case["in/x_target"]), jnp.asarray(case["in/x_pred"])

    spectra = {"spec_default": stft_ops.SINGLE}
    spectra |= {f"spec_{i}": stft for i, stft in enumerate(stfts)}
    for name, stft in spectra.items():
        actual = stft_ops.magnitudes(target.mean(axis=-1), stft).transpose(0, 2, 1)
        assert_close(actual, out.pop(name), rtol=LAYER_RTOL, name=name)

    weights = ReconstructionLoss(
        bandwidth=Bandwidth(**loss["bandwidth"]),
        linf_k=loss["linf_k"],
        lmix=(loss["lmix_l1"], loss["lmix_l2"], loss["lmix_linf"]),
    )
    losses = {
        "spectral_loss": stft_ops.spectral_loss,
        "multispectral_loss": lambda x, y: stft_ops.multispectral_loss(x, y, stfts),
        "spectral_convergence": stft_ops.spectral_convergence,
        "log_magnitude_loss": stft_ops.log_magnitude_loss,
    }
    losses |= {f"loss_fn_{kind}": getattr(weights, kind) for kind in ("l1", "l2", "linf", "lmix")}
    for name, function in losses.items():
        assert_close(function(target, output), out.pop(name), rtol=LAYER_RTOL, name=name)
        gradient = jax.grad(lambda y, f=function: f(target, y).sum())(output)
        assert np.isfinite(gradient).all(), name
        assert_close(gradient, out.pop(f"grad/{name}"), rtol=LAYER_RTOL, name=f"grad/{name}")

    assert_close(
        case["in/x_stereo"].mean(axis=-1, keepdims=True),
        out.pop("mono"),
        rtol=LAYER_RTOL,
        name="mono",
    )


def check_bottleneck(case: Case) -> None:
    """Training steps of one codebook with given random draws, then encode and decode."""
    h = hparams(case)
    num_codes, decay, threshold = h["k_bins"], h["mu"], h["threshold"]
    inputs, out = group(case, "in/"), group(case, "out/")
    draws = _draws(inputs)
    initial = jnp.asarray(case["param/k"])
    if h["mode"] == "init":
        state = quantize.empty(*initial.shape)
    elif "k_sum" in inputs:
        state = Codebook(
            initial,
            jnp.asarray(inputs["k_sum"]),
            jnp.asarray(inputs["k_elem"]),
            jnp.ones((), bool),
        )
    else:
        state = quantize.restore(initial, num_tokens=_restored_tokens(h))

    for step in range(h["n_steps"]):
        expected = {name[len(f"s{step}/") :]: out.pop(name) for name in sorted(out) if
                    name.startswith(f"s{step}/")}
        x = jnp.asarray(inputs[f"x_{step}"]).transpose(0, 2, 1)
        rows = x.reshape(-1, x.shape[-1])
        if not state.initialised:
            state = quantize.initialise(quantize.candidates(rows, num_codes, next(draws)))
        actual = _quantise_with_gradient(x, state.codebook)
        fresh = quantize.candidates(rows, num_codes, next(draws))
        state, metrics = quantize.update(
            state, rows, jnp.ravel(actual["x_l"]), fresh, decay=decay, threshold=threshold
        )
