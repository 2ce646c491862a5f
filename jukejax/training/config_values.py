"""The ranges of the numbers of a training config, checked by key before anything is built."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

COUNT_LIMIT = 2**31  # steps and sizes are int32 on devices


@dataclass(frozen=True)
class Range:
    """The numbers that a key may have.

    Attributes:
      low, high: the smallest and the largest value.
      whole: whole numbers only.
      above, below: `low` or `high` itself is excluded.
      optional: None is a value too.
    """

    low: float
    high: float = math.inf
    whole: bool = False
    above: bool = False
    below: bool = False
    optional: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not math.isfinite(value) or (self.whole and value != int(value)):
            return False
        if self.whole and not isinstance(value, int):
            return False
        is_low = value < self.low or (self.above and value == self.low)
        return not (is_low or value > self.high or (self.below and value == self.high))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        words = f"{kind} {'above' if self.above else 'of at least'} {self.low:g}"
        if math.isfinite(self.high):
            high = f"{self.high:g}" if self.high < 2**20 else f"2**{math.log2(self.high):g}"
            words += f" and {'below' if self.below else 'at most'} {high}"
        return words + (", or None" if self.optional else "")


def _count(low: int, *, optional: bool = False) -> Range:
    return Range(low, COUNT_LIMIT, whole=True, below=True, optional=optional)


POSITIVE = Range(0.0, above=True)
NOT_NEGATIVE = Range(0.0)
SHARE = Range(0.0, 1.0)
BELOW_ONE = Range(0.0, 1.0, below=True)

_TRANSFORMER = {
    "emb_dim": _count(1),
    "num_layers": _count(1),
    "num_heads": _count(1),
    "seq_len": _count(1),
    "num_blocks": _count(1),
    "attn_order": Range(0, 12, whole=True),
    "attn_ratio": POSITIVE,
    "mlp_ratio": POSITIVE,
    "init_scale": NOT_NEGATIVE,
    "spread": _count(1),
    "lyric_len": _count(0),
    "encoder_len": _count(0),
    "attn_dropout": BELOW_ONE,
    "resid_dropout": BELOW_ONE,
    "emb_dropout": BELOW_ONE,
}
_VQVAE = {
    "downs": _count(0),
    "strides": _count(2),
    "multipliers": _count(1),
    "emb_dim": _count(1),
    "codebook_size": _count(1),
    "width": _count(1),
    "depth": _count(0),
    "m_conv": POSITIVE,
    "dilation_growth_rate": _count(1),
    "dilation_cycle": _count(1, optional=True),
    "ema_decay": SHARE,
    "restart_threshold": NOT_NEGATIVE,
    "channels": _count(1),
    "frames.span": _count(1),
    "frames.widths": _count(1),
    "frames.depths": _count(0),
    "frames.band_depth": _count(0),
    "frames.sample_rate": _count(1),
    "frames.matching_rounds": _count(0),
    "frames.matching_contrast": NOT_NEGATIVE,
}
_PRIOR = {
    "level": _count(0),
    "codebook_size": _count(1),
    "hop_length": _count(1),
    "lookback": _count(2),
    "context_dropout": BELOW_ONE,
    "upper.vocab_size": _count(1),
    "upper.downs": _count(0),
    "upper.stride": _count(1),
    "upper.width": _count(1),
    "upper.depth": _count(0),
    "upper.dilation_growth_rate": _count(1),
    "upper.dilation_cycle": _count(1, optional=True),
    "upper.m_conv": POSITIVE,
    "upper.init_scale": NOT_NEGATIVE,
    "labels.num_artists": _count(1),
    "labels.num_genres": _count(1),
    "labels.max_genres": _count(1),
    "labels.timing_bins": _count(1),
    "labels.min_duration": NOT_NEGATIVE,
    "labels.max_duration": POSITIVE,
    "labels.sample_rate": _count(1),
    "labels.tempo_bins": _count(0),
    "labels.keys": _count(0),
    "labels.bar_bins": _count(0),
    "labels.phrase_bars": _count(0),
    "labels.num_sections": _count(0),
    "labels.turns": _count(0),
    "labels.min_bpm": POSITIVE,
    "labels.max_bpm": POSITIVE,
    "labels.dropout": BELOW_ONE,
    "labels.dropout_all": BELOW_ONE,
    "lyrics.num_tokens": _count(1),
    "lyrics.vocab_size": _count(1),
    "lyrics.loss_fraction": NOT_NEGATIVE,
    "lyrics.alignment_layer": _count(0, optional=True),
    "lyrics.alignment_head": _count(0, optional=True),
    **{f"transformer.{name}": bounds for name, bounds in _TRANSFORMER.items()},
    **{f"lyrics.encoder.{name}": bounds for name, bounds in _TRANSFORMER.items()},
}
MODELS = {"vqvae": _VQVAE, "prior": _PRIOR}
RANGES = {
    "seed": Range(0, 2**32, whole=True, below=True),  # of JAX's keys
    "steps": _count(1),
    "accumulate": _count(1),
    "max_skipped": _count(1),
    "log_every": _count(1),
    "eval_every": _count(0),
    "eval_batches": _count(1),
    "sample_every": _count(0),
    "checkpoint_every": _count(1),
    "keep": _count(1),
    "keep_best": _count(0),
    "checkpoint_at": _count(1),
    "keep_every": _count(0),
    "peak_flops": POSITIVE,
    "data.batch_size": _count(1),
    "data.window": _count(1),
    "data.aug_gain": Range(0.0, 60.0),
    "data.aug_mute": SHARE,
    "optimizer.learning_rate": NOT_NEGATIVE,
    "optimizer.warmup_steps": _count(0),
    "optimizer.decay_start": _count(0, optional=True),
    "optimizer.decay_steps": Range(1),
    "optimizer.gamma": Range(0.0, 1.0, above=True),
    "optimizer.beta1": BELOW_ONE,
    "optimizer.beta2": BELOW_ONE,
    "optimizer.eps": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.clip": NOT_NEGATIVE,
    "optimizer.skip_norm": NOT_NEGATIVE,
    "optimizer.ema_decay": Range(0.0, 1.0, below=True, optional=True),
    "schedule.anneal_at_bits": Range(0.0, optional=True),
    "schedule.anneal_on_stall": _count(0),
    "schedule.anneal_steps": _count(1),
    "schedule.smoothing": _count(1),
    "schedule.stop_on_stall": _count(0),
    "loss_scale.initial": POSITIVE,
    "loss_scale.window": _count(1),
    "loss.lmix_l1": NOT_NEGATIVE,
    "loss.lmix_l2": NOT_NEGATIVE,
    "loss.lmix_linf": NOT_NEGATIVE,
    "loss.linf_k": _count(1),
    "loss.spectral": NOT_NEGATIVE,
    "loss.multispectral": NOT_NEGATIVE,
    "loss.log_spectral": NOT_NEGATIVE,
    "loss.code_spectrum": NOT_NEGATIVE,
    "loss.multispectral_n_fft": _count(2),
    "loss.multispectral_hop": _count(1),
    "loss.multispectral_window": _count(1),
    "loss.commit": NOT_NEGATIVE,
    "loss.kl": NOT_NEGATIVE,
    "lora.rank": _count(1),
    "lora.alpha": POSITIVE,
    "mesh.data": Range(-1, COUNT_LIMIT, whole=True),
    "mesh.fsdp": Range(-1, COUNT_LIMIT, whole=True),
    "mesh.tensor": Range(-1, COUNT_LIMIT, whole=True),
    "mesh.slices": _count(1),
}
REQUIRED = (
    "task", "seed", "dtype", "steps", "log_every", "eval_every", "eval_batches", "keep",
    "checkpoint_every", "optimizer", "model", "data", "data.folder", "data.batch_size",
)  # fmt: skip
GROUPS = ("model", "data", "optimizer", "schedule", "loss_scale", "loss", "lora", "mesh")


def check_values(config: ConfigDict) -> None:
    """Checks that the required keys of a config are there and its numbers in range.

    Raises:
      ValueError: names the key, its value and the range.
    """
    values = config.to_dict()
    for group in GROUPS:
        if group in values and not isinstance(values[group], Mapping):
            raise ValueError(f"config.{group} is {values[group]!r}: it must be a dictionary")
    flat = dict(_flatten(values))
    for key in (*REQUIRED, *(("data.window",) if values.get("task") == "vqvae" else ())):
        if key not in flat:
            raise ValueError(f"the config lacks {key}; set it in its file, or by --config.{key}")
    model = MODELS.get(str(values["task"]), {})
    for key, bounds in (RANGES | {f"model.{name}": b for name, b in model.items()}).items():
        if key in flat:
            _check_value(key, flat[key], bounds)
    span = parse_span(flat.get("profile", ""))
    if span and span[0] > flat["steps"]:
        raise ValueError(
            f"config.profile is {flat['profile']!r}, and the run has {flat['steps']} steps"
        )


def parse_span(text: object) -> range:
    """Parses `FIRST:LAST`, both included, as steps; "" as none.

    Raises:
      ValueError: it has another form, or no step.
    """
    if text == "":
        return range(0)
    match = re.fullmatch(r"([0-9]+):([0-9]+)", str(text))
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(
            f"config.profile is {text!r}: it must be FIRST:LAST, the first and the last step to "
            "trace, such as 100:104"
        )
    return range(first, last + 1)


def _check_value(key: str, value: Any, bounds: Range) -> None:
    if value is None and bounds.optional:
        return
    for item in value if isinstance(value, list | tuple) else (value,):
        if item not in bounds:
            raise ValueError(f"config.{key} is {value!r}: it must be {bounds}")


def _flatten(values: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
