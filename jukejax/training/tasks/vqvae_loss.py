"""The losses of the VQ-VAE (Jukebox paper, sections 2 and 3.3, appendix B.1).

Audio is [B, T, C]: batch, time, channels. x is the target, y the reconstruction of one level.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jukejax.models.vqvae import VQVAEOutput
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import stft as stft_ops
from jukejax.ops.stft import STFT, Bandwidth
from jukejax.training.task import Metrics

RECONS = ("l1", "l2", "linf", "lmix")
# Added to magnitudes in logarithms: that of a sine of -70 dB in the longest window.
LOG_FLOOR = 0.1


@dataclass(frozen=True)
class LossConfig:
    """Terms and weights of the loss of each level.

    The defaults are those of the released model, where it has the term: `code_spectrum` and `kl`
    are of extensions, and count only for models that have them.

    Attributes:
      recons: distance of the waveforms: "l1", "l2", "linf", or "lmix", their weighted sum.
      lmix_l1, lmix_l2, lmix_linf: the weights in that sum.
      linf_k: number of the largest squared residuals of a window whose mean is "linf".
      spectral: weight of the distance of magnitude spectrograms.
      relative_spectral: divide that distance by the target's norm (spectral convergence) instead of
        the data set's bandwidth.
      multispectral: weight of the same distance, averaged over several resolutions.
      multispectral_n_fft, multispectral_hop, multispectral_window: those resolutions, in samples.
      log_spectral: weight of the mean distance of the log magnitudes at the same resolutions, an
        extension: quiet tones count as much as loud ones.
      code_spectrum: weight of the error of the log magnitudes that codes predict, at the spectral
        levels (`FrameConfig.turns`).
      commit: weight of the commitment loss, beta in the paper.
      kl: weight of the divergence of a KL bottleneck, in nats a code.
    """

    recons: str = "lmix"
    lmix_l1: float = 0.0
    lmix_l2: float = 1.0
    lmix_linf: float = 0.02
    linf_k: int = 2048
    spectral: float = 0.0
    relative_spectral: bool = False
    multispectral: float = 1.0
    multispectral_n_fft: tuple[int, ...] = (2048, 1024, 512)
    multispectral_hop: tuple[int, ...] = (240, 120, 50)
    multispectral_window: tuple[int, ...] = (1200, 600, 240)
    log_spectral: float = 0.0
    code_spectrum: float = 3.0
    commit: float = 0.02
    kl: float = 1e-3

    def __post_init__(self) -> None:
        if self.recons not in RECONS:
            raise ValueError(f"loss.recons is {self.recons!r}; known: {', '.join(RECONS)}")
        shapes = (self.multispectral_n_fft, self.multispectral_hop, self.multispectral_window)
        if len({len(shape) for shape in shapes}) != 1:
            raise ValueError(
                "loss.multispectral_n_fft, _hop and _window must have equally many entries, not "
                f"{shapes}"
            )

    @property
    def stfts(self) -> tuple[STFT, ...]:
        """The resolutions of the multispectral loss."""
        return tuple(
            STFT(n_fft, hop, window)
            for n_fft, hop, window in zip(
                self.multispectral_n_fft,
                self.multispectral_hop,
                self.multispectral_window,
                strict=True,
            )
        )

    @property
    def used_stfts(self) -> tuple[STFT, ...]:
        """The spectrograms with a weight in the loss."""
        single = (stft_ops.SINGLE,) if self.spectral else ()
        return single + (self.stfts if self.multispectral or self.log_spectral else ())


def recons_loss(
    kind: str, loss: LossConfig, bandwidth: Bandwidth, target: jax.Array, output: jax.Array
) -> jax.Array:
    """Computes the reconstruction loss of the waveforms.

    With w the data set's bandwidth (mean |x| or variance):
      l1:   mean |x - y| / w_l1
      l2:   mean (x - y)^2 / w_l2 (equation 2)
      linf: mean of the `linf_k` largest (x - y)^2 of each window / w_l2
      lmix: their sum, weighted by `lmix_l1`, `lmix_l2` and `lmix_linf`

    Args:
      kind: one of `RECONS`.
      target, output: [B, T, C].

    Returns:
      A scalar.
    """
    if kind == "l1":
        return stft_ops.l1(target, output) / bandwidth.l1
    if kind == "l2":
        return stft_ops.l2(target, output) / bandwidth.l2
    if kind == "linf":
        return stft_ops.linf(target, output, k=loss.linf_k) / bandwidth.l2
    weights = {"l1": loss.lmix_l1, "l2": loss.lmix_l2, "linf": loss.lmix_linf}
    terms = [
        weight * recons_loss(term, loss, bandwidth, target, output)
        for term, weight in weights.items()
        if weight
    ]
    return sum(terms, start=jnp.zeros(()))


def level_losses(
    loss: LossConfig, bandwidth: Bandwidth, target: jax.Array, output: jax.Array
) -> Metrics:
    """Computes the terms of one level's loss, without their weights.

    recons: see `recons_loss`.
    spectral: || |STFT(x)| - |STFT(y)| ||_2 / w_spec (section 3.3), or, with `relative_spectral`,
      the spectral convergence.
    multispectral: the same norm, averaged over `LossConfig.stfts`.
    log_spectral: mean | log(|STFT(x)| + LOG_FLOOR) - log(|STFT(y)| + LOG_FLOOR) |, averaged over
      the same, if it has a weight.
    spectral_convergence: || |STFT(x)| - |STFT(y)| ||_2 / || |STFT(x)| ||_2.

    Args:
      target, output: [B, T, C].

    Returns:
      {name of the term: scalar}.
    """
    convergence = jnp.mean(stft_ops.spectral_convergence(target, output))
    if loss.relative_spectral:
        spectral = convergence
    else:
        spectral = jnp.mean(stft_ops.spectral_loss(target, output)) / bandwidth.spec
    multispectral = jnp.mean(stft_ops.multispectral_loss(target, output, loss.stfts))
    terms = {
        "recons": recons_loss(loss.recons, loss, bandwidth, target, output),
        "spectral": spectral,
        "multispectral": multispectral / bandwidth.spec,
        "spectral_convergence": convergence,
    }
    if loss.log_spectral:
        distances = [
            stft_ops.log_magnitude_loss(target, output, stft, epsilon=LOG_FLOOR)
            for stft in loss.stfts
        ]
        terms["log_spectral"] = jnp.mean(jnp.stack(distances))
    return terms


def total_loss(
    loss: LossConfig, bandwidth: Bandwidth, target: jax.Array, output: VQVAEOutput
) -> tuple[jax.Array, tuple[Metrics, ...]]:
    """Computes the loss of the VQ-VAE, summed over its levels.

    L = L_recons + a L_spec + b L_multispec + beta L_commit (equation 1 and section 3.3), and of our
    extensions c L_log_spec + d L_code_spec + e L_kl, each with its weight in `LossConfig`. The
    commitment loss is L_commit = mean || h - sg[e_z] ||^2 of the features h and their codes e_z
    (equation 4; computed in `ops.quantize`). L_codebook (equation 3) has no gradient here: the
    codebook is a moving average of the features.

    Args:
      target: [B, T, C].

    Returns:
      The loss, a scalar, and its terms by level without their weights.
    """
    total = jnp.zeros(())
    levels = []
    for level, decoded in enumerate(output.audio):
        parts = level_losses(loss, bandwidth, target, decoded)
        total += parts["recons"]
        for name in ("spectral", "multispectral", "log_spectral"):
            if weight := getattr(loss, name):  # a term of weight 0 has no gradient
                total += weight * parts[name]
        if level in output.spectra:
            errors = [jnp.mean(jnp.abs(x - y)) for x, y in output.spectra[level]]
            parts["code_spectrum"] = jnp.mean(jnp.stack(errors))
            total += loss.code_spectrum * parts["code_spectrum"]
        if output.posteriors is not None:
            divergence = output.posteriors[level].divergence
            total += loss.kl * divergence
            parts["kl_bits"] = divergence / jnp.log(2.0)
        if output.quantized is not None:
            quantized = output.quantized[level]
            total += loss.commit * quantized.commitment_loss
            parts |= {
                "commit": quantized.commitment_loss,
                "fit": quantized.quantization_error,  # OpenAI's names, in logs only
                "pn": quantized.input_std,
            }
            parts |= output.metrics[level]
        levels.append(parts)
    return total, tuple(levels)


def name_metrics(levels: tuple[Metrics, ...]) -> Metrics:
    """Names the metrics of all levels "level_k/name", and converts entropies to bits."""
    named = {
        f"level_{k}/{name}": value
        for k, metrics in enumerate(levels)
        for name, value in metrics.items()
    }
    return {
        name: value / jnp.log(2.0) if name.endswith("/entropy") else value
        for name, value in named.items()
    }


def check_window(config: VQVAEConfig, loss: LossConfig, window: int) -> None:
    """Checks that windows of `window` samples fit the model and its loss.

    Raises:
      ValueError: the window is too short, or no multiple of the top level's hop.
    """
    unit = config.unit
    if window % unit:
        raise ValueError(
            f"data.window {window} is no multiple of the top level's {unit} samples a "
            f"{'code' if unit == config.hops[-1] else 'frame of codes'}; take "
            f"{max(1, round(window / unit)) * unit}"
        )
    largest = max(stft_ops.SINGLE.n_fft, *loss.multispectral_n_fft)
    if window <= largest // 2:
        raise ValueError(
            f"data.window {window} is too short for an STFT of {largest} samples: take more than "
            f"{largest // 2}"
        )
    uses_linf = loss.recons == "linf" or (loss.recons == "lmix" and loss.lmix_linf)
    if uses_linf and loss.linf_k > window * config.channels:
        raise ValueError(f"loss.linf_k {loss.linf_k} exceeds data.window {window}: lower it")
