"""The identity of a VQ-VAE, by which codes and priors name the one that made the codes.

It has two hashes: "codes_hash", of the encoders and code vectors only, which alone determine codes;
and "hash", of all arrays, which older files have alone. The latter changes in a round trip through
other layouts, as those do not keep the codebooks' moving averages.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from jukejax.common.types import Tree
from jukejax.weights import bundle

Identity = Mapping[str, Any]

_HASHES = "codes_hash", "hash"  # those that are known of both are compared in this order


def identify_codec(weights: Tree) -> dict[str, str]:
    """Returns the identity of a VQ-VAE.

    Args:
      weights: {"params", "extra"}.
    """
    return {"hash": bundle.hash_weights(weights), "codes_hash": _hash_codes(weights)}


def _hash_codes(weights: Tree) -> str:
    """Returns the sha256 of encoders and code vectors, as float32 in any float type."""
    digest = hashlib.sha256()
    for name, value in sorted(bundle.flatten_weights(weights).items()):
        if name.startswith("params/encoders_") or name.endswith("/codebook"):
            digest.update(f"{name} {value.shape}".encode())
            digest.update(value.astype("<f4").tobytes())
    return digest.hexdigest()


def compare_codecs(first: Identity | None, second: Identity | None) -> bool | None:
    """Returns true if two identities are of one VQ-VAE; None if they have no hash in common."""
    for name in _HASHES:
        hashes = (first or {}).get(name), (second or {}).get(name)
        if all(hashes):
            return hashes[0] == hashes[1]
    return None


def check_same_codec(corpora: Mapping[str, Identity | None]) -> None:
    """Checks that code corpora are of one VQ-VAE; unknown origins are accepted.

    Args:
      corpora: {folder: identity}.

    Raises:
      ValueError: two are of different ones.
    """
    (first, identity), *others = corpora.items()
    for folder, other in others:
        if compare_codecs(identity, other) is False:
            raise ValueError(
                f"data.folder: {folder} has codes of another VQ-VAE than {first}; encode both with "
                "one"
            )


def check_priors(
    identity: Identity, priors: Mapping[str, Mapping[str, Any]], vqvae: str, fix: str
) -> None:
    """Checks that priors were trained on codes of a VQ-VAE; unknown origins are accepted.

    Args:
      identity, vqvae: of the VQ-VAE, and its path for the message.
      priors: {path: description}.
      fix: advice for the message.

    Raises:
      ValueError: a prior was trained on codes of another VQ-VAE.
    """
    for path, description in priors.items():
        if compare_codecs(description.get("vqvae"), identity) is False:
            raise ValueError(f"{path} was trained on codes of another VQ-VAE than {vqvae}; {fix}")
