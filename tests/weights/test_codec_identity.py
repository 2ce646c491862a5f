"""Codes and priors name the VQ-VAE of the codes by what determines codes, and by nothing else."""

import numpy as np
import pytest

from jukejax.weights.codec_identity import check_priors, compare_codecs, identify_codec
from tests.support import small_bundle, small_codec

VQVAE = identify_codec(small_codec.weights())
OLD = {"hash": VQVAE["hash"]}  # as older files have it


def change(*path):
    """Returns the identity after a change of one value."""
    weights = small_codec.weights()
    *path, last = path
    tree = weights
    for name in path:
        tree = tree[name]
    tree[last].ravel()[-1] += 1
    return identify_codec(weights)


@pytest.mark.parametrize(
    ("path", "same"),
    [
        (("params", "encoders_0", "block_0", "out", "bias"), False),
        (("extra", "codebooks_2", "codebook"), False),
        (("extra", "codebooks_2", "codebook_count"), True),
        (("extra", "codebooks_0", "codebook_sum"), True),
        (("params", "decoders_1", "out", "bias"), True),
    ],
)
def test_encoders_and_code_vectors_alone_are_the_identity(path, same):
    changed = change(*path)
    assert changed["hash"] != VQVAE["hash"]
    assert compare_codecs(changed, VQVAE) == same
    assert compare_codecs(changed, OLD) is False  # only the hash of all arrays is known


def test_the_float_type_of_the_file_does_not_matter():
    half = small_bundle.random_weights(small_bundle.VQVAE, dtype=np.float16)
    exact = {**half, "params": _to_float32(half["params"])}
    assert compare_codecs(identify_codec(half), identify_codec(exact))


def _to_float32(tree):
    if isinstance(tree, dict):
        return {name: _to_float32(value) for name, value in tree.items()}
    return tree.astype(np.float32)


def test_older_files_are_compared_by_their_hash_and_unknown_ones_are_not_compared():
    assert compare_codecs(OLD, VQVAE) is True
    assert compare_codecs({"hash": "another"}, VQVAE) is False
    assert compare_codecs({"codes_hash": VQVAE["codes_hash"]}, OLD) is None
    for unknown in (None, {}, {"hash": None}):
        assert compare_codecs(unknown, VQVAE) is None


def test_a_prior_of_another_vqvae_is_named():
    priors = {"b/level_2": {"vqvae": VQVAE}, "b/level_1": {"vqvae": OLD}, "b/level_0": {}}
    check_priors(VQVAE, priors, "b/vqvae", "export again")
    priors["b/level_0"] = {"vqvae": {"hash": "another"}}
    message = "b/level_0 was trained on codes of another VQ-VAE than b/vqvae; export again"
    with pytest.raises(ValueError, match=message):
        check_priors(VQVAE, priors, "b/vqvae", "export again")
