"""Codes of a level above with those of a reference sound (`VQVAE.encode_reference`)."""

import numpy as np


def join_reference(upper_codes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Joins codes above [..., N] and reference [..., N * ratio] to [..., N, 1 + ratio]."""
    columns = reference.reshape(*upper_codes.shape, -1)
    return np.concatenate([upper_codes[..., None], columns], axis=-1)
