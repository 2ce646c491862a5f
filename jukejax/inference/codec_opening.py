"""Opening of the VQ-VAE that made existing codes."""

from pathlib import Path

from jukejax.inference.codec import Codec
from jukejax.weights.codec_identity import Identity, compare_codecs


def open_codec(path: str | Path, identity: Identity | None, *, flag: str, codes: str) -> Codec:
    """Loads the VQ-VAE of existing codes.

    Args:
      identity: of the VQ-VAE, recorded with the codes.
      flag: flag of `path`, for the message.
      codes: name of the codes, for the message.

    Raises:
      ValueError: there is no VQ-VAE at `path`, or it is another one.
    """
    codec = Codec.load(path)
    if not compare_codecs(identity, codec.identity):
        raise ValueError(
            f"{flag}={path} is not the VQ-VAE that made the codes of {codes}; give that one, or "
            f"remove {flag}"
        )
    return codec
