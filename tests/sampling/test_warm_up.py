"""A process that has prepared for a sketch compiles nothing for its first audio."""

import pytest

from jukejax.inference import codec_programs, window_program
from jukejax.inference.loaded_model import Model
from jukejax.sampling.warm_up import compile_sketch
from tests.support import small_bundle
from tests.support.small_sample import sample


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none")


def test_a_sketch_finds_its_programs_compiled(bundle, tmp_path, monkeypatch):
    compile_sketch(bundle)
    decoded = codec_programs.decode_window._cache_size()
    sampled = window_program.sample_windows._cache_size()
    guidance = {2: 3.0}
    sample(Model(bundle), tmp_path, levels=(2,), guidance=guidance, seconds=1.0, stream=True)
    assert window_program.sample_windows._cache_size() == sampled
    assert decoded
