"""OpenAI's names for the tensors of priors, and their paths in our tree."""

import dataclasses
from collections.abc import Iterable, Iterator

from jukejax.models.autoregressive import AutoregressiveConfig
from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.weights.mapping import Entry
from jukejax.weights.openai.conv import decoder_block_entries


def attention_entries(kind: AttentionKind) -> Iterator[Entry]:
    """Yields the tensors of an attention layer; linear weights are (in, out), as in Flax."""
    cross = kind == AttentionKind.ENCODER_DECODER
    names = {"c_attn": "query" if cross else "query_key_value", "c_proj": "out"}
    if cross:
        names["c_enc_kv"] = "key_value"
    for foreign, own_name in names.items():
        yield Entry(f"{foreign}.w", (own_name, "kernel"))
        yield Entry(f"{foreign}.b", (own_name, "bias"))


def block_entries(kind: AttentionKind) -> Iterator[Entry]:
    """Yields the tensors of one residual attention block."""
    for entry in attention_entries(kind):
        yield Entry(f"attn.{entry.name}", ("attn", *entry.path))
    for foreign, own_name in {"ln_0": "attn_norm", "ln_1": "mlp_norm"}.items():
        yield Entry(f"{foreign}.weight", (own_name, "scale"))
        yield Entry(f"{foreign}.bias", (own_name, "bias"))
    for foreign, own_name in {"c_fc": "mlp_in", "c_proj": "mlp_out"}.items():
        yield Entry(f"mlp.{foreign}.w", (own_name, "kernel"))
        yield Entry(f"mlp.{foreign}.b", (own_name, "bias"))


def autoregressive_entries(config: AutoregressiveConfig) -> Iterator[Entry]:
    """Yields the tensors of our `Autoregressive`, OpenAI's `ConditionalAutoregressive2D`.

    Raises:
      ValueError: the model has a `lookback`.
    """
    if config.lookback:
        raise ValueError(
            "OpenAI's code has no lookback (config.model.lookback); take --format=bundle or "
            "safetensors"
        )
    yield Entry("x_emb.weight", ("code_embedding",))
    yield Entry("pos_emb.pos_emb", ("position_embedding",))
    if not config.labeled:
        yield Entry("start_token", ("start_token",))
    counts = {"self_layers": 0, "cross_layers": 0}
    for layer, kind in enumerate(config.transformer.pattern):
        stack = "cross_layers" if kind == AttentionKind.ENCODER_DECODER else "self_layers"
        for entry in block_entries(kind):
            name = f"transformer._attn_mods.{layer}.{entry.name}"
            yield Entry(name, ("transformer", stack, *entry.path), layer=counts[stack])
        counts[stack] += 1
    if config.has_output:
        tied = not config.merged_decoder
        yield Entry("x_out.weight", ("code_embedding",) if tied else ("output",))


TIMING_NAMES = {
    "total": "total_length_emb",
    "absolute": "absolute_pos_emb",
    "relative": "relative_pos_emb",
}


def label_entries(*, timing: bool) -> Iterator[Entry]:
    """Yields the tensors of `LabelConditioner`."""
    names = {"genre": "bow_genre_emb", "artist": "artist_emb", **(TIMING_NAMES if timing else {})}
    for own_name, foreign in names.items():
        yield Entry(f"{foreign}.emb.weight", (own_name,))


def conditioner_entries(
    config: CodeConditionerConfig, *, checkpointed: bool = True
) -> Iterator[Entry]:
    """Yields the tensors of OpenAI's `Conditioner`: embedding, residual stacks, layer norm.

    Args:
      checkpointed: the model recomputes activations (`checkpoint_res`), like all released models;
        its residual stacks then have another name.
    """
    blocks_name = "blocks" if checkpointed else "model"
    yield Entry("x_emb.weight", ("code_embedding",))
    yield Entry("ln.weight", ("norm", "scale"))
    yield Entry("ln.bias", ("norm", "bias"))
    for entry in decoder_block_entries(config.downs, config.depth, blocks_name=blocks_name):
        yield Entry(f"cond.{entry.name}", ("upsample", *entry.path), axes=entry.axes)


def lyric_encoder_entries(vocab_size: int, encoder: TransformerConfig) -> Iterator[Entry]:
    """Yields the tensors of a "separate" model's lyric encoder, which is not part of the prior."""
    inner = AutoregressiveConfig(vocab_size, encoder, has_output=False)
    yield from _add_prefix(autoregressive_entries(inner), "prime_prior", "autoregressive")
    yield Entry("prime_state_proj.w", ("projection", "kernel"))
    yield Entry("prime_state_proj.b", ("projection", "bias"))
    yield Entry("prime_state_ln.weight", ("norm", "scale"))
    yield Entry("prime_state_ln.bias", ("norm", "bias"))
    yield Entry("prime_x_out.weight", ("output",))


def prior_entries(config: PriorConfig, *, checkpointed: bool = True) -> Iterator[Entry]:
    """Yields the tensors of OpenAI's `SimplePrior`, a prior or upsampler.

    Args:
      checkpointed: see `conditioner_entries`.
    """
    if config.upper is not None:
        entries = conditioner_entries(config.upper, checkpointed=checkpointed)
        yield from _add_prefix(entries, "conditioner_blocks.0", "code_conditioner")
    if config.labels is not None:
        entries = label_entries(timing=config.upper is None)
        yield from _add_prefix(entries, "y_emb", "label_conditioner")
    if config.lyrics is not None and config.lyrics.encoder is not None:
        for entry in lyric_encoder_entries(config.lyrics.vocab_size, config.lyrics.encoder):
            yield dataclasses.replace(entry, path=("lyric_encoder", *entry.path))
    yield from _add_prefix(autoregressive_entries(config.autoregressive), "prior", "autoregressive")


def _add_prefix(entries: Iterable[Entry], name: str, key: str) -> Iterator[Entry]:
    """Yields entries with a prefix before OpenAI's name and a key before our path."""
    for entry in entries:
        yield dataclasses.replace(entry, name=f"{name}.{entry.name}", path=(key, *entry.path))
