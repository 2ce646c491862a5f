"""Bad values of flags and of config keys: each refused by its name."""

from collections.abc import Iterator

from tests.drills.verdicts import Verdict, judge_refusal
from tests.drills.workspace import Workspace

CONFIG = {  # values that each key refuses
    "steps": ("-1", "0", "nan"),
    "log_every": ("0", "-3"),
    "eval_every": ("-1",),
    "eval_batches": ("0", "-2"),
    "checkpoint_every": ("-1",),
    "keep": ("0", "-1"),
    "seed": ("-1", str(2**70)),
    "accumulate": ("0", "3"),
    "dtype": ("int8", "float64"),
    "data.batch_size": ("0", "-4", "3.5"),
    "data.folder": ("/no/such/folder",),
    "optimizer.learning_rate": ("nan", "inf", "-0.1"),
    "optimizer.warmup_steps": ("-1",),
    "optimizer.ema_decay": ("1.5", "-0.1", "nan"),
    "optimizer.clip_norm": ("-1", "nan"),
    "mesh.data": ("0", "7"),
    "no_such_key": ("1",),
}
PRIOR = {
    "model.transformer.num_layers": ("0", "-1"),
    "model.transformer.num_heads": ("0", "3"),
    "model.transformer.seq_len": ("0", "127"),
    "model.transformer.attn_order": ("99",),
    "model.codebook_size": ("1", "-5"),
    "model.level": ("3", "-1"),
}
SAMPLE = {
    "seconds": ("0", "-1", "nan", "1e9"),
    "num_samples": ("0", "-1"),
    "temperature": ("-1", "nan"),
    "top_k": ("-1",),
    "top_p": ("-0.1", "1.5", "nan"),
    "min_p": ("-0.1", "1.5", "nan"),
    "hop_fraction": ("0", "2", "nan"),
    "levels": ("2,0", "x"),
    "mode": ("magic",),
    "schedule": ("magic",),
    "artist": ("nobody",),
    "genre": ("polka",),
    "seed": ("-1", str(2**70)),
    "prompt": ("/no/file.wav",),
    "codes": ("/no/codes.npz",),
    "lyrics_file": ("/no/lyrics.txt",),
    "no_such_flag": ("1",),
}
PREPARE = {
    "workers": ("-1", "x"),
    "heldout": ("1.0", "-0.1", "nan"),
    "min_seconds": ("0", "nan"),
    "max_seconds": ("1", "nan"),
    "fades": ("loud",),
    "loudness": ("3", "nan", "x"),
    "separator": ("magic",),
    "separator_weights": ("/no/weights",),
    "metadata": ("/no/table.csv",),
    "runner": ("magic",),
    "beam_options": ("--x",),
}


def run_drills(workspace: Workspace) -> list[Verdict]:
    """Runs all drills of this module."""
    return [
        *_drill_train(workspace, "vqvae", CONFIG),
        *_drill_train(workspace, "prior", PRIOR),
        *_drill_sample(workspace),
        *_drill_prepare(workspace),
        *_drill_others(workspace),
    ]


def _drill_train(workspace: Workspace, variant: str, values: dict) -> Iterator[Verdict]:
    for key, bad_values in values.items():
        for value in bad_values:
            output = workspace.new_path()
            flags = [*workspace.train_flags(variant, output), f"--config.{key}={value}"]
            yield judge_refusal(
                "flag", f"{key}={value}", "train", flags, culprit=key.split(".")[-1], output=output
            )


def _drill_sample(workspace: Workspace) -> Iterator[Verdict]:
    for name, bad_values in SAMPLE.items():
        for value in bad_values:
            output = workspace.new_path()
            flags = [*workspace.sample_flags(output), f"--{name}={value}"]
            yield judge_refusal(
                "flag", f"{name}={value}", "sample", flags, culprit=name, output=output
            )


def _drill_prepare(workspace: Workspace) -> Iterator[Verdict]:
    for name, bad_values in PREPARE.items():
        for value in bad_values:
            output = workspace.new_path()
            flags = [f"--input={workspace.music}", f"--output={output}", f"--{name}={value}"]
            yield judge_refusal(
                "flag", f"{name}={value}", "prepare", flags, culprit=name, output=output
            )


def _drill_others(workspace: Workspace) -> Iterator[Verdict]:
    """Gives each other command an input of the wrong kind."""
    wrong = {
        "encode": [f"--vqvae={workspace.vqvae}", f"--input={workspace.codes}"],
        "export": [f"--workdir={workspace.music}"],
        "convert": ["--from=openai", f"--input={workspace.music}"],
        "evaluate": [f"--input={workspace.codes}"],
        "audit": [f"--input={workspace.samples}", f"--training={workspace.music}"],
        "embed": [f"--input={workspace.music}", f"--model={workspace.audio}"],
    }
    for verb, flags in wrong.items():
        output = workspace.new_path()
        culprit = flags[-1].partition("=")[2]
        yield judge_refusal(
            "flag", "an input of the wrong kind", verb, [*flags, f"--output={output}"],
            culprit=culprit, output=output,
        )  # fmt: skip
        yield judge_refusal("flag", "no flags", verb, [], culprit="--")
        missing = [f"{flags[-1].partition('=')[0]}=/no/such/place", f"--output={output}"]
        yield judge_refusal(
            "flag", "a missing input", verb, [*flags[:-1], *missing],
            culprit="/no/such/place", output=output,
        )  # fmt: skip
