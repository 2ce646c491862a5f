"""Codes are compared with those of the same VQ-VAE only; sounds are encoded on several grids."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jukejax.auditing.auditor import Auditor
from jukejax.auditing.pieces import Sound

CODES = np.arange(64)


@pytest.fixture
def auditor():
    info = {"vqvae": {"codes_hash": "of the corpus"}}
    dataset = SimpleNamespace(info=info, folder="codes", corpus_hash="x")
    return Auditor(None, SimpleNamespace(dataset=dataset, thresholds={}, find_evidence=dict))


def write_item(folder, meta):
    np.savez(folder / "codes.npz", level_2=CODES)
    (folder / "meta.json").write_text(json.dumps(meta))
    return Sound("item", None, folder / "codes.npz")


def test_codes_of_another_vqvae_are_refused(auditor, tmp_path):
    sound = write_item(tmp_path, {"vqvae": {"codes_hash": "of a sample"}})
    message = "codes.npz was made with another VQ-VAE than the codes of --training=codes"
    with pytest.raises(ValueError, match=message):
        auditor.audit_sound(sound)


@pytest.mark.parametrize("meta", [{"vqvae": {"codes_hash": "of the corpus"}}, {"vqvae": 7}, {}])
def test_codes_of_the_same_or_an_unknown_vqvae_are_compared(auditor, tmp_path, meta):
    auditor.codes.find_evidence = lambda codes: {"run_bits": codes.tolist()}
    evidence, ways = auditor._collect_evidence(write_item(tmp_path, meta))
    assert evidence == {"run_bits": CODES.tolist()}
    assert ways == ["codes"]


@pytest.mark.parametrize(("unit", "starts"), [(128, [0, 32, 64, 96]), (1024, [0, 256, 512, 768])])
def test_a_sound_is_encoded_on_grids_all_over_a_frame_of_codes(auditor, unit, starts):
    def encode_all(sections):
        return [(section, [None, None, section.start]) for section in sections]

    auditor.codec = SimpleNamespace(config=SimpleNamespace(unit=unit), encode_all=encode_all)
    sound = Sound("sound", None)
    assert auditor._code_versions(sound, np.zeros((2 * unit, 1))) == starts
    assert auditor._code_versions(sound, np.zeros((2 * unit - 1, 1))) == []
