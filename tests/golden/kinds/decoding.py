"""Golden checks of decoding: greedy, Gumbel and primed tokens of the autoregressive model."""

import functools
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference import token_loop
from jukejax.inference.token_loop import NO_FILTER, LogitsFilter, TrackNoise, sample_tokens
from jukejax.models import decoding
from jukejax.models.autoregressive import AutoregressiveConfig, Conditions
from jukejax.ops import logits as logits_ops
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.parameters import MODEL


class Sampling(NamedTuple):
    """Inputs of the token loop; all arrays, so that every run of a case shares one program.

    Attributes:
      codes: int32 [B, T]; those before `start` are the prompt.
      start, stop: int32 scalars, the slots to fill.
      temperature: float32 scalar; 0 is greedy.
      filtered: bool scalar, whether the filter of the case applies.
      noise: Gumbel noise [B, T, V].
    """

    codes: np.ndarray
    start: int
    stop: int
    temperature: float
    filtered: bool
    noise: np.ndarray


@functools.partial(jax.jit, static_argnums=(0, 1))
def sample(
    config: AutoregressiveConfig,
    logits_filter: LogitsFilter,
    params: dict,
    conditions: Conditions,
    inputs: Sampling,
) -> tuple[jax.Array, jax.Array]:
    """Samples by the compiled loop; returns tokens [B, T] and unfiltered logits [T, B, V]."""
    weights = decoding.prepare_decode_weights(config, params, jnp.float32)
    caches = decoding.prefill_caches(config, weights, inputs.codes, conditions, inputs.start)
    batch, seq_len = inputs.codes.shape
    preds = jnp.zeros((seq_len, batch, config.vocab_size))

    @jax.jit  # the loop traces it twice
    def step(state, previous, position):
        caches, preds = state
        logits, caches = decoding.decode_step(
            config, weights, caches, previous, conditions, position
        )
        preds = preds.at[position].set(logits)
        scaled = logits / jnp.where(inputs.temperature > 0, inputs.temperature, 1.0)
        top_k, top_p = logits_filter.top_k, logits_filter.top_p
        dropped = jnp.isneginf(logits_ops.filter_logits(scaled, top_k=top_k, top_p=top_p))
        return jnp.where(inputs.filtered & dropped, -jnp.inf, logits), (caches, preds)

    def read_noise(keys, positions, vocab_size):
        return inputs.noise[:, jnp.minimum(positions, seq_len - 1)].transpose(1, 0, 2)

    with mock.patch.object(token_loop, "gumbel_noise", read_noise):
        state = sample_tokens(
            step,
            (caches, preds),
            inputs.codes,
            start=inputs.start,
            stop=inputs.stop,
            noise=TrackNoise(None, 0),
            temperature=inputs.temperature,
            logits_filter=NO_FILTER,
        )
    return state.codes, state.cache[1]


def check_sampling(
    case: Case, config: AutoregressiveConfig, params: dict, conditions: Conditions
) -> None:
    """Checks greedy tokens, then Gumbel and primed ones, all sampled by the compiled loop."""
    hps, seq_len = case.hps, config.transformer.seq_len
    logits_filter = LogitsFilter(hps["top_k"], hps["top_p"])
    gumbel = np.asarray(case["in/gumbel"], np.float32)

    def run(prompt, *, temperature=0.0, filtered=False, stop=seq_len):
        """Returns tokens [B, stop], and logits of the positions after the prompt."""
        start = prompt.shape[1]
        codes = np.zeros((prompt.shape[0], seq_len), np.int32)
        codes[:, :start] = prompt
        inputs = Sampling(
            codes,
            np.int32(start),
            np.int32(stop),
            np.float32(temperature),
            np.bool_(filtered),
            gumbel,
        )
        tokens, preds = sample(config, logits_filter, params, conditions, inputs)
        preds = np.asarray(preds).transpose(1, 0, 2)
        return np.asarray(tokens)[:, :stop], preds[:, start:stop]

    no_prompt = np.zeros((case["in/x"].shape[0], 0), np.int32)
    tokens, preds = run(no_prompt)
    np.testing.assert_array_equal(tokens, case["out/greedy/tokens"])
    assert_close(preds, case["out/greedy/preds"], rtol=MODEL, name="greedy preds")

    tokens, preds = run(no_prompt, temperature=hps["temp"], filtered=True)
    np.testing.assert_array_equal(tokens, case["out/gumbel/tokens"])
    assert_close(preds, case["out/gumbel/preds"], rtol=MODEL, name="gumbel preds")
    partial = case.get("out/gumbel/partial_tokens_topk0")
    if partial is not None:
        tokens, _ = run(no_prompt, temperature=hps["temp"], stop=partial.shape[1])
        np.testing.assert_array_equal(tokens, partial)
    # Without a mask a prompt's outputs depend on OpenAI's chunks.
    for chunk in hps["chunk_sizes"] if config.transformer.causal else ():
        golden = case[f"out/primed_chunk{chunk}/tokens"]
        tokens, preds = run(golden[:, : hps["primed_len"]])
        np.testing.assert_array_equal(tokens, golden)
        theirs = case[f"out/primed_chunk{chunk}/preds"][:, -preds.shape[1] :]
        assert_close(preds, theirs, rtol=MODEL, name=f"primed preds, chunk {chunk}")
