"""Label vectors."""

import numpy as np
import pytest

from jukejax.data.labels import make_label_vector, remove_names


def test_label_vector_is_timing_artist_and_padded_genres():
    vector = make_label_vector(1000, 128, 256, 7, (4, 5), 4)
    assert vector.dtype == np.int32
    assert vector.tolist() == [1000, 128, 256, 7, 4, 5, -1, -1]
    with pytest.raises(ValueError, match="3 genres, but the model takes at most 2"):
        make_label_vector(1000, 128, 256, 7, (4, 5, 6), 2)


def test_labels_without_names_keep_their_timing():
    named = np.stack(
        [make_label_vector(1000, 128, 256, 7, (4, 5), 3), make_label_vector(9, 8, 7, 0, (0,), 3)]
    )
    assert remove_names(named, 3).tolist() == [
        [1000, 128, 256, 0, 0, -1, -1],
        [9, 8, 7, 0, 0, -1, -1],
    ]
