"""Learning-rate schedules, optimizers and the moving average of the weights, from a config.

The optimizers are those of Optax. Its schedules and its `ema` are not used: OpenAI's schedule is
the product of warm-up and decay, which may overlap, whereas `optax.schedules` concatenates them;
and the state of `optax.ema` is the average without bias correction, whereas checkpoints contain the
corrected average.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jukejax.common.types import Tree
from jukejax.models import lora
from jukejax.training.rounding import round_moments

# Kinds of parameters that may be exempt from weight decay, by the last part of their path.
NO_DECAY = {
    "bias": ("bias",),
    "norm": ("scale",),
    "embedding": ("embedding", "start_token", "label_conditioner"),
}
_ADAFACTOR_CLIP = 1.0  # largest root mean square of a leaf's update (Shazeer and Stern, 2018)
_MUON_RMS = 0.2  # of an update, which is about Adam's (Liu et al., 2025, section 2.2)
CHOICES = {
    "kind": ("adam", "adafactor", "muon"),
    "adam": ("optax", "openai"),
    "moment_dtype": ("float32", "bfloat16"),
    "decay": ("linear", "cosine"),
}
# State that can be in the host's memory, and its field in `state.TrainState`.
ON_HOST = {"ema": "ema_params", "moments": "opt_state"}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Settings of the optimizer, the learning rate and the average of the weights.

    Attributes:
      learning_rate: after warm-up.
      warmup_steps: the rate grows linearly from 0, so the first step has rate 0; 0: no warm-up.
      decay: "linear" or "cosine", the shape of the decay to 0.
      decay_start: step at which that decay begins; None leaves the rate constant, or to `gamma`.
      decay_steps: steps from `decay_start` until the rate is 0, or between drops by `gamma`.
      gamma: without a linear decay, the rate drops by this factor every `decay_steps`.
      kind: "adam"; "adafactor", whose second moments of a matrix are a row and a column, without a
        first moment; or "muon", which orthogonalizes the first moments of the matrices in a
        transformer's layers and trains the rest by Adam with Nesterov momentum. All have updates
        of Adam's size.
      moment_dtype: "float32" or "bfloat16" (see `rounding`), of the moments of Adam and Muon.
      on_host: state that is kept in the host's memory and transferred in every step: "ema", the
        averaged weights (OpenAI's `cpu_ema`), and "moments", the optimizer's state.
      beta1, beta2, eps: parameters of Adam; `beta1` is also Muon's.
      weight_decay: coefficient of the decoupled weight decay.
      no_decay: kinds of parameters without weight decay: "bias", "norm", "embedding".
      clip: largest global norm of the gradient; 0 turns clipping off.
      skip_norm: a step whose gradient has a larger global norm is skipped; 0: none is.
      adam: "optax" (AdamW, the default) or "openai" (see `openai_adam`).
      ema_decay: of the averaged weights; None for OpenAI's 1 - (batch_size / 8) / 1000.
      ema_bias_correction: corrects the average for its initial value; without it, as in OpenAI's
        code, the average contains the random initial weights, with a decaying coefficient.
    """

    learning_rate: float = 3e-4
    warmup_steps: int = 100
    decay: str = "linear"
    decay_start: int | None = None
    decay_steps: int = 10_000_000_000
    gamma: float = 1.0
    kind: str = "adam"
    moment_dtype: str = "float32"
    on_host: tuple[str, ...] = ()
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    no_decay: tuple[str, ...] = ()
    clip: float = 1.0
    skip_norm: float = 0.0
    adam: str = "optax"
    ema_decay: float | None = None
    ema_bias_correction: bool = True

    def __post_init__(self) -> None:
        for name, options in CHOICES.items():
            if getattr(self, name) not in options:
                raise ValueError(
                    f"optimizer.{name} is {getattr(self, name)!r}; known: {', '.join(options)}"
                )
        if self.kind != "adam" and self.adam != "optax":
            raise ValueError(f"optimizer.adam={self.adam} needs kind=adam, and it is {self.kind}")
        if self.kind == "adafactor" and self.moment_dtype != "float32":
            raise ValueError(
                "optimizer.kind=adafactor has no moments of the size of the weights; remove "
                "optimizer.moment_dtype"
            )
        elsewhere = set(self.on_host) - set(ON_HOST)
        if elsewhere:
            raise ValueError(
                f"optimizer.on_host names {', '.join(sorted(elsewhere))}; known: "
                f"{', '.join(ON_HOST)}"
            )
        unknown = set(self.no_decay) - NO_DECAY.keys()
        if unknown:
            raise ValueError(
                f"optimizer.no_decay names {', '.join(sorted(unknown))}; known: "
                f"{', '.join(NO_DECAY)}"
            )


def make_schedule(config: OptimizerConfig) -> optax.Schedule:
    """Returns the learning rate as a function of the step (from 0): OpenAI's `get_lr_scheduler`."""

    def rate(step: jax.Array) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        decay_steps = float(config.decay_steps)
        scale = jnp.minimum(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
        if config.decay_start is None:
            scale *= config.gamma ** jnp.floor(step / decay_steps)
        else:
            remaining = jnp.clip(1.0 - (step - config.decay_start) / decay_steps, 0.0, 1.0)
            cosine = config.decay == "cosine"
            scale *= 0.5 - 0.5 * jnp.cos(jnp.pi * remaining) if cosine else remaining
        return config.learning_rate * scale

    return rate


class AdamState(NamedTuple):
    """Number of steps, and the moving averages of the gradient and of its square."""

    count: jax.Array  # type: ignore[assignment]  # optax names it so; tuple has a method `count`
    mu: Tree
    nu: Tree


def openai_adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Makes OpenAI's Adam (the fused Adam of Apex), with learning rate and weight decay.

    It differs from `optax.adamw` in two points: eps is added to the square root before the bias
    correction, and the weight decay is multiplied with the bias-corrected step.
    """
    rate = make_schedule(config)

    def init(params: Tree) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(grads: Tree, state: AdamState, params: Tree) -> tuple[Tree, AdamState]:
        beta1, beta2 = config.beta1, config.beta2
        mu = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, state.nu, grads)
        count = state.count + 1
        step = rate(state.count) * jnp.sqrt(1 - beta2**count) / (1 - beta1**count)
        mask = weight_decay_mask(config, params)
        decay = jax.tree.map(lambda is_decayed: config.weight_decay * is_decayed, mask)
        updates = jax.tree.map(
            lambda m, v, p, decay: -step * (m / (jnp.sqrt(v) + config.eps) + decay * p),
            mu,
            nu,
            params,
            decay,
        )
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def accepts_norm(config: OptimizerConfig, norm: jax.Array) -> jax.Array:
    """Returns a bool scalar: false if the norm is not finite, or above `skip_norm`."""
    finite = jnp.isfinite(norm)
    return finite & (norm <= config.skip_norm) if config.skip_norm else finite


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Makes the optimizer: clipping by global norm, then its kind with decoupled weight decay."""
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    optimizer = openai_adam(config) if config.adam == "openai" else _make_kind(config)
    if config.moment_dtype == "bfloat16":
        optimizer = round_moments(optimizer)
    return optax.chain(clip, optimizer)


def _make_kind(config: OptimizerConfig) -> optax.GradientTransformation:
    if config.kind == "adafactor":
        # Without factors of the weights' size, so that the learning rate means what Adam's does.
        direction = optax.chain(
            optax.scale_by_factored_rms(), optax.clip_by_block_rms(_ADAFACTOR_CLIP)
        )
    elif config.kind == "muon":
        direction = optax.contrib.muon(
            -1.0,  # the sign is that of `scale_by_learning_rate`, below
            beta=config.beta1,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            muon_weight_dimension_numbers=select_muon_axes,
            consistent_rms=_MUON_RMS,
        )
    else:
        direction = optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.eps)
    return optax.chain(
        direction,
        optax.add_decayed_weights(
            config.weight_decay, lambda params: weight_decay_mask(config, params)
        ),
        optax.scale_by_learning_rate(make_schedule(config)),
    )


def select_muon_axes(params: Tree) -> Tree:
    """Returns Muon's axes of each kernel in a transformer's layers; None for other leaves."""

    def select(path: tuple, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        del leaf
        names = [str(key.key) for key in path if hasattr(key, "key")]
        if not lora.find_kernels(["/".join(names)]):
            return None
        return optax.contrib.MuonDimensionNumbers(1, 2)

    return jax.tree_util.tree_map_with_path(select, params)


def weight_decay_mask(config: OptimizerConfig, params: Tree) -> Tree:
    """Returns a bool for each leaf: true if it has weight decay, by the names in its path."""
    exempt = tuple(ending for kind in config.no_decay for ending in NO_DECAY[kind])

    def is_decayed(path: tuple, leaf: jax.Array) -> bool:
        del leaf
        names = [str(getattr(key, "key", "")) for key in path]
        return not any(name.endswith(exempt) for name in names if name) if exempt else True

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def ema_decay(config: OptimizerConfig, batch_size: int) -> float:
    """Returns the decay of the averaged weights for a global batch."""
    if config.ema_decay is not None:
        return config.ema_decay
    return 1.0 - (batch_size / 8) / 1000


def corrected_decay(decay: float, step: jax.Array) -> jax.Array:
    """Computes the decay at update `step` (from 1) of an average with bias correction.

    With it, the average after n updates is sum_i decay**(n-i) params_i / sum_i decay**(n-i):
    Adam's bias correction (Kingma and Ba, 2015, section 3), folded into the decay itself.
    """
    step = jnp.asarray(step, jnp.float32)
    if not 0.0 < decay < 1.0:
        return jnp.full_like(step, decay)
    log = math.log(decay)
    return decay * jnp.expm1((step - 1) * log) / jnp.expm1(step * log)


def update_ema(average: Tree, params: Tree, decay: float | jax.Array) -> Tree:
    """Computes decay * average + (1 - decay) * params, leaf by leaf."""
    return jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)
