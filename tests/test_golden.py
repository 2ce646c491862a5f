"""Checks of every golden file in $JUKEJAX_GOLDEN (default tests/golden), by its kind.

A hyper-parameter that a check does not read fails the file.
"""

import os
from pathlib import Path

import pytest

from tests.golden.kinds import (
    attention,
    autoregressive,
    bottleneck,
    conditioners,
    losses,
    prior,
    runtime,
    text,
    tracks,
    training,
    vqvae,
)
from tests.golden.kinds.case import Case

FOLDER = Path(os.environ.get("JUKEJAX_GOLDEN", Path(__file__).parent / "golden"))
CHECKS = {
    "attn": attention.check_attn,
    "car": autoregressive.check_car,
    "conditioner": conditioners.check_conditioner,
    "label_cond": conditioners.check_label_cond,
    "ops": runtime.check_ops,
    "opt": runtime.check_opt,
    "windows": runtime.check_windows,
    "vqvae": vqvae.check_vqvae,
    "bottleneck": bottleneck.check_bottleneck,
    "audio": losses.check_audio,
    "train": training.check_train,
    "prior": prior.check_prior,
    "e2e": tracks.check_e2e,
    "text": text.check_text,
    "dataset_index": text.check_dataset_index,
}
FILES = sorted(FOLDER.glob("*.npz"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden(path):
    case = Case(path)
    assert case.hps["kind"] in CHECKS, f"{path.name}: unknown kind {case.hps['kind']!r}"
    CHECKS[case.hps["kind"]](case)
    case.check_all_read()


def test_there_are_golden_files():
    assert FILES, f"no .npz in {FOLDER}"
