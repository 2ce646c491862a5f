"""Training of priors with lyrics from shards."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jukejax.common.config import to_plain
from jukejax.data import lyrics
from jukejax.data.corpus import Track
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.training.tasks.prior import PriorTask
from tests.golden.kinds.case import Case, assert_close
from tests.golden.kinds.parameters import assert_gradients
from tests.golden.kinds.prior import MODEL, load, prior_config
from tests.test_golden import FOLDER


def write_codes(folder, codes, texts, codebook_size, vocabulary=None):
    """Writes held-out and training tracks of these top-level codes and lyrics."""
    vocabulary = vocabulary or Vocabulary.build([], [], texts)
    info = {"codebook_size": codebook_size, "vqvae": {"hash": "x"}}
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for split in ("train", "heldout"):
            for i, (row, text) in enumerate(zip(codes, texts, strict=True)):
                levels = {f"level_{k}": np.zeros(len(row) * 4 ** (2 - k), int) for k in (0, 1)}
                track = Track(f"t{i}", lyrics=text, content=f"{split}{i}")
                writer.add(split, track, level_2=row, **levels)


def make_config(folder, model, batch_size=2):
    return ConfigDict(
        dict(
            task="prior",
            seed=0,
            dtype="float32",
            data=dict(folder=str(folder), batch_size=batch_size),
            model=model,
        )
    )


@pytest.mark.parametrize("name", ["prior_top_single_enc_dec", "prior_top_sep_enc_dec"])
def test_a_step_on_shards_with_lyrics_is_that_of_openai(name, tmp_path):
    """Codes and letters come from shards; times, artist and genre are those of the golden file."""
    case = Case(FOLDER / f"{name}.npz")
    hps = case.hps["hps"]
    config = prior_config(hps, case.hps["vq_hps"])
    alphabet = lyrics.find_alphabet("", config.lyrics.vocab_size)
    golden = case["in/y"][:, : config.label_width].astype(np.int32)
    letters = golden[:, -config.num_lyrics :]
    # A file has padding in the midst of its letters, which no text has.
    texts = [alphabet.decode(np.maximum(row, 1)) for row in letters]
    write_codes(tmp_path, case["in/z"], texts, config.codebook_size)
    model = to_plain(config) | {"hop_length": 128}
    task = PriorTask(make_config(tmp_path, model))
    batch = next(task.open_batches("heldout"))
    np.testing.assert_array_equal(batch["codes"], case["in/z"])
    tokens = batch["labels"][:, -config.num_lyrics :]
    np.testing.assert_array_equal(tokens, np.maximum(letters, 1))
    batch["labels"] = np.concatenate([golden[:, : -config.num_lyrics], tokens], axis=1)
    batch["labels"][golden == 0] = 0

    entries, params = load(config, case.group("param/"))
    results = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(
        params, {}, batch, jax.random.key(0)
    )
    (loss, (_, metrics)), gradients = jax.device_get(results)
    assert_close(loss, case["out/train/loss"], rtol=MODEL)
    assert_close(metrics["bits_per_code"], case["out/train/metrics/gen_loss"], rtol=MODEL)
    assert_close(metrics["bits_per_letter"], case["out/train/metrics/prime_loss"], rtol=MODEL)
    assert_gradients(entries, gradients, case, "out/train/grad/", MODEL, ("c_attn.b",))


SMALL = dict(
    level=2,
    transformer=dict(emb_dim=16, num_layers=3, num_heads=2, seq_len=64, num_blocks=8, attn_order=0),
    labels=dict(max_genres=1, timing_bins=8, min_duration=1.0),
    lyrics=dict(kind="single", num_tokens=16),
)
CODES = np.arange(400).reshape(2, 200) % 7


@pytest.mark.parametrize(("alphabet", "size"), [("unicode", 9), ("v2", 80), ("v3", 79)])
def test_the_number_of_letters_follows_from_the_alphabet(alphabet, size, tmp_path):
    write_codes(tmp_path, CODES, ["夜の歌", "nächt"], 7)
    config = make_config(tmp_path, SMALL)
    config.model.lyrics.alphabet = alphabet
    task = PriorTask(config)
    assert task.model_config.lyrics.vocab_size == size
    batch = next(task.open_batches("train"))
    assert batch["labels"].shape == (2, task.model_config.label_width)
    assert batch["labels"].max() < 2**31
    assert task.describe()["vocabulary"]["characters"] == "".join(sorted("夜の歌nächt"))


def test_music_without_lyrics_is_refused_in_one_line(tmp_path):
    write_codes(tmp_path, CODES, ["", ""], 7)
    config = make_config(tmp_path, SMALL)
    config.model.lyrics.alphabet = "v3"
    with pytest.raises(ValueError, match=r"needs lyrics, and no track of .* has any; prepare"):
        PriorTask(config)


def test_another_number_of_letters_than_the_alphabet_has_is_refused(tmp_path):
    write_codes(tmp_path, CODES, ["abc", ""], 7)
    config = make_config(tmp_path, SMALL)
    config.model.lyrics.update(alphabet="unicode", vocab_size=80)
    with pytest.raises(ValueError, match="vocab_size is 80, but the alphabet unicode has 4 tokens"):
        PriorTask(config)
    config.model.lyrics.update(alphabet="latin")
    with pytest.raises(ValueError, match=r"lyrics\.alphabet is 'latin'; known: v2, v3, unicode"):
        PriorTask(config)
