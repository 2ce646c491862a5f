"""Golden checks of decoding: greedy, Gumbel and primed tokens of the autoregressive model."""

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.token_loop import NO_FILTER, TrackNoise, sample_tokens
from jukejax.models import decoding
from jukejax.models.autoregressive import AutoregressiveConfig, Conditions
from jukejax.models.transformer import empty_caches
from jukejax.ops import logits as logits_ops
from jukejax.ops.attention.kinds import AttentionKind
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.parameters import MODEL


class Decoder:
    """Decodes a case's batch one step at a time, with random numbers from the file."""

    def __init__(self, config: AutoregressiveConfig, params: dict, conditions: Conditions):
        self.config, self.conditions = config, conditions
        self.weights = decoding.prepare_decode_weights(config, params, jnp.float32)
        self.prefill = jax.jit(self._prefill)
        self.step = jax.jit(self._step)
        self.loop = jax.jit(self._loop)

    def _prefill(self, codes, length):
        return decoding.prefill_caches(self.config, self.weights, codes, self.conditions, length)

    def _step(self, caches, previous, position):
        return decoding.decode_step(
            self.config, self.weights, caches, previous, self.conditions, position
        )

    def _loop(self, codes):
        """Samples greedily with the compiled loop."""
        caches = empty_caches(self.config.transformer, codes.shape[0], jnp.float32)
        if AttentionKind.ENCODER_DECODER in self.config.transformer.pattern:
            caches = self._prefill(codes, jnp.int32(0))
        noise = TrackNoise(jax.random.split(jax.random.key(0), codes.shape[0]), 0)
        return sample_tokens(
            self._step,
            caches,
            codes,
            start=0,
            stop=codes.shape[1],
            noise=noise,
            temperature=jnp.float32(0.0),
            logits_filter=NO_FILTER,
        ).codes

    def run(self, prompt, options, noise, stop=None):
        """Returns tokens [B, stop], and logits of the positions after the prompt."""
        temperature, top_k, top_p = options
        batch, length = prompt.shape
        codes = np.zeros((batch, self.config.transformer.seq_len), np.int32)
        codes[:, :length] = prompt
        caches = self.prefill(jnp.asarray(codes), jnp.int32(length))
        stop = codes.shape[1] if stop is None else stop
        logits_by_position = []
        for position in range(length, stop):
            previous = jnp.asarray(codes[:, max(position - 1, 0)])
            logits, caches = self.step(caches, previous, jnp.int32(position))
            logits_by_position.append(logits)
            gumbel = jnp.asarray(noise[:, position])
            codes[:, position] = logits_ops.sample_from_logits(
                logits, gumbel, temperature=temperature, top_k=top_k, top_p=top_p
            )
        return codes[:, :stop], np.stack(logits_by_position, 1)


def check_sampling(
    case: Case, config: AutoregressiveConfig, params: dict, conditions: Conditions
) -> None:
    """Checks greedy tokens, also those of the compiled loop, then Gumbel and primed ones."""
    hps, batch, greedy = case.hps, case["in/x"].shape[0], (0.0, 0, 0.0)
    decoder, seq_len = Decoder(config, params, conditions), config.transformer.seq_len
    no_prompt = np.zeros((batch, 0), np.int32)
    no_noise = np.zeros((batch, seq_len, config.vocab_size), np.float32)
    tokens, preds = decoder.run(no_prompt, greedy, no_noise)
    np.testing.assert_array_equal(tokens, case["out/greedy/tokens"])
    assert_close(preds, case["out/greedy/preds"], rtol=MODEL, name="greedy preds")
    by_loop = decoder.loop(jnp.zeros((batch, seq_len), jnp.int32))
    np.testing.assert_array_equal(by_loop, case["out/greedy/tokens"])

    gumbel = case["in/gumbel"]
    tokens, preds = decoder.run(no_prompt, (hps["temp"], hps["top_k"], hps["top_p"]), gumbel)
    np.testing.assert_array_equal(tokens, case["out/gumbel/tokens"])
    assert_close(preds, case["out/gumbel/preds"], rtol=MODEL, name="gumbel preds")
    partial = case.get("out/gumbel/partial_tokens_topk0")
    if partial is not None:
        tokens, _ = decoder.run(no_prompt, (hps["temp"], 0, 0.0), gumbel, stop=partial.shape[1])
        np.testing.assert_array_equal(tokens, partial)
    for chunk in hps["chunk_sizes"]:
        golden = case[f"out/primed_chunk{chunk}/tokens"]
        tokens, preds = decoder.run(golden[:, : hps["primed_len"]], greedy, no_noise)
        np.testing.assert_array_equal(tokens, golden)
        theirs = case[f"out/primed_chunk{chunk}/preds"][:, -preds.shape[1] :]
        assert_close(preds, theirs, rtol=MODEL, name=f"primed preds, chunk {chunk}")
