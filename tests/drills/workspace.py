"""What the drills work on: music, shards, training runs and a model, all small."""

import shutil
from functools import cached_property
from pathlib import Path

import soundfile

from tests.support import small_bundle
from tests.support.command import run_in_process
from tests.support.sound_files import RATE, make_song

TRACKS = 6


class Workspace:
    """Makes each input once, when it is first needed.

    Attributes:
      folder: for everything.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._count = 0

    def new_path(self, name: str = "out") -> Path:
        """Returns a path that does not exist."""
        self._count += 1
        return self.folder / f"{name}_{self._count:03d}"

    def copy(self, path: Path) -> Path:
        """Copies a file or folder to a new path with the same suffix."""
        target = self.new_path(path.stem).with_suffix(path.suffix)
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
        return target

    @cached_property
    def music(self) -> Path:
        """Writes a folder of tracks."""
        folder = self.new_path("music")
        folder.mkdir()
        for seed in range(TRACKS):
            soundfile.write(folder / f"{seed}.wav", make_song(6.0, seed), RATE)
        return folder

    @cached_property
    def audio(self) -> Path:
        """Prepares the music."""
        output = self.new_path("audio")
        flags = ("--separator=none", "--heldout=0.3", "--workers=1")
        run_in_process("prepare", f"--input={self.music}", f"--output={output}", *flags)
        return output

    @cached_property
    def vqvae(self) -> Path:
        """Trains a VQ-VAE."""
        return self._train("vqvae")

    @cached_property
    def codes(self) -> Path:
        """Encodes the shards."""
        output = self.new_path("codes")
        run_in_process(
            "encode", f"--vqvae={self.vqvae}", f"--input={self.audio}", f"--output={output}"
        )
        return output

    @cached_property
    def prior(self) -> Path:
        """Trains a top prior."""
        return self._train("prior")

    @cached_property
    def bundle(self) -> Path:
        """Writes a bundle of random weights with all parts."""
        return small_bundle.write(self.new_path("bundle"), lyrics="none")

    @cached_property
    def samples(self) -> Path:
        """Samples a track from the bundle."""
        output = self.new_path("samples")
        run_in_process("sample", *self.sample_flags(output))
        return output

    def _train(self, variant: str) -> Path:
        workdir = self.new_path(variant)
        run_in_process("train", *self.train_flags(variant, workdir))
        return workdir

    def train_flags(self, variant: str, workdir: Path) -> list[str]:
        """Returns flags that train a model of configs/tiny.py in a few seconds."""
        data = self.audio if variant == "vqvae" else self.codes
        return [
            f"--config=configs/tiny.py:{variant}",
            f"--workdir={workdir}",
            f"--config.data.folder={data}",
        ]

    def sample_flags(self, output: Path) -> list[str]:
        """Returns flags that sample one second at all levels."""
        return [f"--model={self.bundle}", "--seconds=1", f"--output={output}"]

    def loop_flags(self, output: Path) -> list[str]:
        """Returns flags that sample a loop of two bars at all levels."""
        return [
            f"--model={self.bundle}",
            *("--bars=2", "--bpm=400", "--loop", "--candidates=2"),
            f"--output={output}",
        ]
