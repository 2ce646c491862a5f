"""Golden checks of whole tracks: all three levels, window by window, and their lyrics aligned."""

from collections.abc import Mapping
from unittest import mock

import jax
import numpy as np

from jukejax.data import lyrics
from jukejax.data.openai_labels import Version
from jukejax.inference import budget, generate, window_runners
from jukejax.inference.align import align_lyrics
from jukejax.inference.conditioning import Labels, make_window_labels
from jukejax.models.prior_config import PriorConfig
from tests.golden.kinds.case import Case, Settings, assert_close
from tests.golden.kinds.prior import Codec, lay_out, load, prior_config
from tests.golden.kinds.text import openai_ids
from tests.support.openai_lists import read_lists

MODEL = 1e-4
CALLS = "calls[level,n_past,n_zcond,sample_tokens,bs]"


def check_e2e(case: Case) -> None:
    """Three levels, greedy: ancestral, primed and upsample, window by window, and the audio."""
    hps, out = case.hps, case.group("out/")
    assert hps["sr"] == hps["vq_hps"]["sr"]
    hps.ignore("chunk_size")  # of the prompt's positions; they are causal, so it has no effect
    state = case.group("param/")
    codec = Codec(hps["vq_hps"], state)
    configs, weights, labels = [], [], []
    for level, prior_hps in enumerate(hps["prior_hps"]):
        config = prior_config(prior_hps, hps["vq_hps"])
        prefix = f"prior{level}::"
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        configs.append(config)
        weights.append(lay_out(config, load(config, own)[1]))
        theirs = out.pop(f"labels/y_l{level}", None)
        labels.append(song_labels(hps["metas"], prior_hps, config, theirs))
        if config.labels is not None:
            ours = make_window_labels(config, labels[level], 0)
            np.testing.assert_array_equal(ours, theirs[:, : config.label_width])

    top = len(configs) - 1
    nothing = {level: np.zeros((hps["n_samples"], 0), np.int32) for level in range(top + 1)}
    runs = {"ancestral": nothing}
    if "in/x_prompt" in case:
        assert case["in/x_prompt"].shape[1] == hps["prompt_samples"]
        prompt = codec.encode(case["in/x_prompt"])
        for level, codes in enumerate(prompt):
            np.testing.assert_array_equal(codes, out.pop(f"prompt/z_l{level}"))
        runs["primed"] = dict(enumerate(prompt))
    if "upsample/z_l0" in out:
        runs["upsample"] = nothing | {top: np.asarray(out[f"upsample/z_l{top}"], np.int32)}
    finished = {}
    for name, given in runs.items():
        prefix = f"{name}/"
        theirs = {k.removeprefix(prefix): out.pop(k) for k in list(out) if k.startswith(prefix)}
        finished[name] = run_levels(hps, configs, weights, labels, given, theirs)
        theirs.pop("min_margin", None)
        for key in [key for key in theirs if key.startswith("x_l")]:
            level = int(key.removeprefix("x_l"))
            audio = codec.decode(finished[name][level], level)
            assert_close(audio, theirs.pop(key), rtol=MODEL, name=f"{name}/{key}")
        assert not theirs, f"not checked: {sorted(theirs)}"

    if hps.get("align"):
        check_alignment(hps, configs[top], weights[top], labels[top], finished, out)
    assert not out, f"not checked: {sorted(out)}"


def song_labels(metas: list[Settings], hps: Mapping, config: PriorConfig, golden) -> list[Labels]:
    """Each song's labels, looked up in OpenAI's lists; without the lists, ids of the file."""
    if openai_ids() is None:
        for meta in metas:
            meta.ignore("artist", "genre")
    version, folder = Version.V3 if hps.get("labels_v3") else Version.V2, openai_ids()
    vocabulary = None if folder is None else read_lists(folder, version)
    found = []
    for row, meta in enumerate(metas):
        artist, genres = 0, ()
        if config.labels is not None and vocabulary is not None:
            artist = vocabulary.artist_id(meta["artist"], lenient=True)
            genres = vocabulary.genre_ids(meta["genre"], lenient=True)
        elif config.labels is not None:
            artist = int(golden[row, 3])
            genres = tuple(int(x) for x in golden[row, 4 : 4 + config.labels.max_genres] if x >= 0)
        tokens = ()
        if config.num_lyrics:
            alphabet = lyrics.ALPHABETS[version]
            tokens = tuple(alphabet.encode(alphabet.clean(meta["lyrics"])))
        found.append(Labels(artist, genres, meta["total_length"], meta["offset"], tokens))
    return found


def run_levels(hps, configs, weights, labels, given: dict, theirs: dict) -> dict[int, np.ndarray]:
    """Samples every level and compares each window's inputs; codes by level."""
    sample_windows, seen = window_runners.sample_windows, []

    def record(config, logits_filter, prior_weights, inputs, *how):
        seen.append((config, jax.tree.map(np.asarray, inputs._replace(keys=None))))
        return sample_windows(config, logits_filter, prior_weights, inputs, *how)

    codes = {}
    for config in reversed(configs):
        level = config.level
        done = given[level]
        with (
            mock.patch.object(window_runners, "sample_windows", record),
            mock.patch.object(budget, "CPU_BATCHES", 1),  # all items in one batch, as OpenAI's
        ):
            windows = generate.sample_level(
                config,
                weights[level],
                generate.LevelTracks(
                    total=hps["sample_length"] // config.hop_length,
                    codes=done,
                    upper_codes=codes.get(level + 1),
                    labels=labels[level],
                    keys=generate.make_item_keys(0, range(hps["n_samples"]), level),
                ),
                generate.SamplingSettings(
                    window_hop=int(hps["hop_fraction"][level] * config.seq_len), temperature=0.0
                ),
            )
            for step in windows:
                done = step.codes
        codes[level] = done
        np.testing.assert_array_equal(done, theirs.pop(f"z_l{level}"), err_msg=f"z_l{level}")
    check_calls(seen, hps.get("max_batch_size") or hps["n_samples"], theirs)
    return codes


def check_calls(seen: list, largest: int, theirs: dict) -> None:
    """Each window, in OpenAI's batches: what it kept, sampled and was told."""
    calls, number = theirs.pop(CALLS), 0
    for config, inputs in seen:
        for start in range(0, len(inputs.codes), largest):
            rows = slice(start, start + largest)
            level, past, upper, stop, size = calls[number]
            assert (level, past) == (config.level, inputs.start), f"call {number}"
            assert (stop or config.seq_len) == inputs.stop, f"call {number}"
            assert size == len(inputs.codes[rows]), f"call {number}"
            labels = theirs.pop(f"call{number}_y", None)
            if config.labels is not None:
                np.testing.assert_array_equal(inputs.labels[rows], labels[:, : config.label_width])
            codes = theirs.pop(f"call{number}_z_cond", None)
            if config.upper is not None:
                assert upper == inputs.upper_codes.shape[1], f"call {number}"
                np.testing.assert_array_equal(inputs.upper_codes[rows], codes)
            number += 1
    assert number == len(calls)


def check_alignment(hps, config: PriorConfig, weights, labels, finished: dict, out: dict) -> None:
    """Which letter each code of the ancestral run attends to."""
    top = hps["prior_hps"][-1]
    maps = align_lyrics(
        config,
        weights,
        finished["ancestral"][config.level],
        labels,
        window_hop=int(hps["hop_fraction"][config.level] * config.seq_len),
        layer=top["alignment_layer"],
        head=top["alignment_head"],
    )
    for row, ours in enumerate(maps):
        assert_close(ours, out.pop(f"alignment_{row}"), rtol=MODEL, name=f"alignment_{row}")
