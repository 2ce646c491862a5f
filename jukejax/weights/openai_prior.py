"""OpenAI's names for the tensors of priors, beside ours."""

from collections.abc import Iterator

from jukejax.models.autoregressive import AutoregressiveConfig
from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.transformer import AttentionKind
from jukejax.weights.mapping import Entry
from jukejax.weights.openai_conv import decoder_block_entries


def attention_entries(kind: AttentionKind) -> Iterator[Entry]:
    """One attention layer. Their linear weights are (in, out), as Flax kernels."""
    cross = kind == AttentionKind.ENCODER_DECODER
    names = {"c_attn": "query" if cross else "query_key_value", "c_proj": "out"}
    if cross:
        names["c_enc_kv"] = "key_value"
    for theirs, ours in names.items():
        yield Entry(f"{theirs}.w", (ours, "kernel"))
        yield Entry(f"{theirs}.b", (ours, "bias"))


def block_entries(kind: AttentionKind) -> Iterator[Entry]:
    """One residual attention block."""
    for entry in attention_entries(kind):
        yield Entry(f"attn.{entry.name}", ("attn", *entry.path))
    for theirs, ours in {"ln_0": "attn_norm", "ln_1": "mlp_norm"}.items():
        yield Entry(f"{theirs}.weight", (ours, "scale"))
        yield Entry(f"{theirs}.bias", (ours, "bias"))
    for theirs, ours in {"c_fc": "mlp_in", "c_proj": "mlp_out"}.items():
        yield Entry(f"mlp.{theirs}.w", (ours, "kernel"))
        yield Entry(f"mlp.{theirs}.b", (ours, "bias"))


def autoregressive_entries(config: AutoregressiveConfig) -> Iterator[Entry]:
    """`ConditionalAutoregressive2D`, their name of what `Autoregressive` is here."""
    yield Entry("x_emb.weight", ("code_embedding",))
    yield Entry("pos_emb.pos_emb", ("position_embedding",))
    if not config.labelled:
        yield Entry("start_token", ("start_token",))
    used = {"self_layers": 0, "cross_layers": 0}
    for layer, kind in enumerate(config.transformer.pattern):
        stack = "cross_layers" if kind == AttentionKind.ENCODER_DECODER else "self_layers"
        for entry in block_entries(kind):
            name = f"transformer._attn_mods.{layer}.{entry.name}"
            yield Entry(name, ("transformer", stack, *entry.path), layer=used[stack])
        used[stack] += 1
    if config.has_output:
        tied = not config.merged_decoder
        yield Entry("x_out.weight", ("code_embedding",) if tied else ("output",))


TIMING_NAMES = {
    "total": "total_length_emb",
    "absolute": "absolute_pos_emb",
    "relative": "relative_pos_emb",
}


def label_entries(*, timing: bool) -> Iterator[Entry]:
    """`LabelConditioner`."""
    names = {"genre": "bow_genre_emb", "artist": "artist_emb", **(TIMING_NAMES if timing else {})}
    for ours, theirs in names.items():
        yield Entry(f"{theirs}.emb.weight", (ours,))


def conditioner_entries(
    config: CodeConditionerConfig, *, checkpointed: bool = True
) -> Iterator[Entry]:
    """`Conditioner`: embedding, residual stacks with transposed convolutions, layer norm.

    Their stacks have another name when they checkpoint activations (`checkpoint_res`), as all
    released models do.
    """
    blocks_name = "blocks" if checkpointed else "model"
    yield Entry("x_emb.weight", ("code_embedding",))
    yield Entry("ln.weight", ("norm", "scale"))
    yield Entry("ln.bias", ("norm", "bias"))
    for entry in decoder_block_entries(config.downs, config.depth, blocks_name=blocks_name):
        yield Entry(f"cond.{entry.name}", ("upsample", *entry.path), axes=entry.axes)
