"""Golden checks of the VQ-VAE's losses, spectrograms and bandwidth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops import stft as stft_ops
from jukejax.ops.stft import Bandwidth
from jukejax.training.tasks import vqvae_loss
from jukejax.training.tasks.vqvae_loss import LossConfig
from tests.golden.kinds.case import Case, Settings, assert_close

LAYER = 1e-5  # single layers and losses
# The gradient of a log magnitude divides by magnitudes down to 1e-4 beside ones of 10, which carry
# the FFT's rounding: in audio_losses.npz OpenAI's float32 is off float64 by 4e-5, ours by 2e-4.
LOG_GRADIENT = 2e-3


def loss_config(hps: Settings, loss: Settings) -> LossConfig:
    """Converts OpenAI's hyper-parameters; `loss` may omit those with defaults."""
    loss.ignore("sr")  # stored beside the sizes of the STFT, but never used
    names = {
        "linf_k": "linf_k",
        "lmix_l1": "lmix_l1",
        "lmix_l2": "lmix_l2",
        "lmix_linf": "lmix_linf",
        "multispec_loss_n_fft": "multispectral_n_fft",
        "multispec_loss_hop_length": "multispectral_hop",
        "multispec_loss_window_size": "multispectral_window",
    }
    fields = {ours: loss[theirs] for theirs, ours in names.items() if theirs in loss}
    return LossConfig(
        recons=hps["loss_fn"],
        spectral=hps["spectral"],
        multispectral=hps["multispectral"],
        relative_spectral=not loss.get("use_nonrelative_specloss", True),
        commit=hps["commit"],
        **{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()},
    )


def check_audio(case: Case) -> None:
    """Checks STFTs, losses with their gradients, bandwidth and mono."""
    hps, out = case.hps, case.group("out/")
    parts = hps["loss_hps"]
    terms = {"loss_fn": "lmix", "spectral": 0, "multispectral": 1, "commit": 0}
    loss = loss_config(Settings(terms), parts)
    scale = Bandwidth(**parts["bandwidth"])
    target, output = case["in/x_target"], case["in/x_pred"]
    assert target.shape[:2] == (hps["batch"], hps["T"])
    assert case["in/x_stereo"].shape[-1] == hps["channels"]
    assert case["in/dataset"].shape[:2] == (hps["n_items"], hps["item_len"])

    spectra = {"spec_default": stft_ops.SINGLE}
    spectra |= {f"spec_{i}": stft for i, stft in enumerate(loss.stfts)}
    compute_magnitudes = jax.jit(stft_ops.magnitudes, static_argnums=1)
    for name, stft in spectra.items():
        ours = np.asarray(compute_magnitudes(target.mean(axis=-1), stft))
        assert_close(ours.transpose(0, 2, 1), out.pop(name), rtol=LAYER, name=name)

    losses = {
        "spectral_loss": stft_ops.spectral_loss,
        "multispectral_loss": lambda x, y: stft_ops.multispectral_loss(x, y, loss.stfts),
        "spectral_convergence": stft_ops.spectral_convergence,
        "log_magnitude_loss": stft_ops.log_magnitude_loss,
    }
    for kind in vqvae_loss.RECONS:
        losses[f"loss_fn_{kind}"] = lambda x, y, kind=kind: vqvae_loss.recons_loss(
            kind, loss, scale, x, y
        )

    @jax.jit
    def differentiate(target, output):
        results = {}
        for name, function in losses.items():
            value, pullback = jax.vjp(functools.partial(function, target), output)
            results[name] = value, pullback(jnp.ones_like(value))[0]
        return results

    for name, (value, gradient) in differentiate(target, output).items():
        assert_close(value, out.pop(name), rtol=LAYER, name=name)
        rtol = LOG_GRADIENT if name == "log_magnitude_loss" else LAYER
        assert_close(gradient, out.pop(f"grad/{name}"), rtol=rtol, name=f"grad/{name}")

    mono = case["in/x_stereo"].mean(axis=-1, keepdims=True)
    assert_close(mono, out.pop("mono"), rtol=LAYER, name="mono")

    # OpenAI looks at every 16th item until so many samples have been seen.
    values = hps["sr"] * hps["bw_duration"]
    ours = stft_ops.measure_bandwidth(case["in/dataset"][::16], max_values=values)
    for name in ("l1", "l2", "spec"):
        value = out.pop(f"bandwidth/{name}")
        assert_close(getattr(ours, name), value, rtol=LAYER, name=f"bandwidth {name}")
    assert not out, f"not checked: {sorted(out)}"
