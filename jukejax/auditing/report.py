"""The output of an audit: audit.json, and report.html with passages and their originals."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jukejax.analysis import verdict
from jukejax.auditing import page
from jukejax.auditing.auditor import Auditor
from jukejax.auditing.corpus import CODE_RATE, LEVEL, RATE
from jukejax.auditing.pieces import Sound
from jukejax.common import files
from jukejax.data import audio
from jukejax.pages.assets import Assets

if TYPE_CHECKING:
    from jukejax.inference.codec import Codec

PLAYED_PASSAGES = 4  # passages of a piece, the strongest ones
CONTEXT_SECONDS = 1  # seconds before and after a passage in its excerpt


class ReportWriter:
    """Writes the output folder of an audit."""

    def __init__(self, auditor: Auditor, output: Path):
        self._auditor, self._output = auditor, output

    def write(self, sounds: Sequence[Sound], items: Sequence[dict]) -> str:
        """Writes audit.json and report.html.

        Args:
          items: of `Auditor.audit_sound`, one for each sound.

        Returns:
          The verdict on all sounds together.
        """
        verdicts = {item["verdict"] for item in items}
        order = (verdict.COPIED, verdict.SIMILAR)
        overall = next((name for name in order if name in verdicts), verdict.NOVEL)
        table = {
            "verdict": overall,
            "thresholds": self._describe_thresholds(),
            "training": self._describe_corpora(),
        }
        files.write_json(self._output / "audit.json", table | {"items": list(items)})
        assets = Assets(self._output)
        names = [f"{i:03d}_{_make_file_name(sound.name)}" for i, sound in enumerate(sounds)]
        pieces = [
            page.Piece(
                item, _add_sound(assets, sound, name), self._add_pairs(assets, sound, name, item)
            )
            for sound, item, name in zip(sounds, items, names, strict=True)
        ]
        files.write_text(self._output / "report.html", page.format_page(table, pieces))
        return overall

    def _describe_thresholds(self) -> dict[str, dict]:
        return {
            kind: {
                "similar": round(limit.similar, 4),
                "copied": round(limit.copied, 4),
                "heldout_windows": len(limit.null),
                "heldout_similar": sum(value >= limit.similar for value in limit.null),
                "heldout_copied": sum(value >= limit.copied for value in limit.null),
            }
            for kind, limit in self._auditor.thresholds.items()
        }

    def _describe_corpora(self) -> list[dict]:
        return [
            {
                "folder": str(corpus.dataset.folder),
                "kind": corpus.dataset.kind,
                "corpus_hash": corpus.dataset.corpus_hash,
                "tracks": len(corpus.tracks),
                "hours": round(sum(track.samples for track in corpus.tracks) / RATE / 3600, 3),
            }
            for corpus in self._auditor.corpora
        ]

    def _add_pairs(
        self, assets: Assets, sound: Sound, name: str, item: dict
    ) -> dict[int, tuple[Path, Path]]:
        """Saves the strongest passages as sounds; returns {passage: (generated, original)}."""
        passages = item["passages"]
        order = sorted(range(len(passages)), key=lambda i: -passages[i]["reach"])
        pairs: dict[int, tuple[Path, Path]] = {}
        if not order:
            return pairs
        with sound.open_audio() as samples:
            if samples is None:
                return pairs
            for i in order[:PLAYED_PASSAGES]:
                passage = passages[i]
                lead_in = min(CONTEXT_SECONDS, passage["start"], max(passage["offset_seconds"], 0))
                length = lead_in + passage["end"] - passage["start"] + CONTEXT_SECONDS
                start = passage["offset_seconds"] - lead_in
                original = self._read_original(passage["track"], start, length)
                if original is not None:
                    first = round((passage["start"] - lead_in) * RATE)
                    generated = samples[first : first + round(length * RATE)].mean(axis=1)
                    pairs[i] = (
                        _save_sound(assets, f"{name}_{i:02d}_generated.wav", generated),
                        _save_sound(assets, f"{name}_{i:02d}_original.wav", original),
                    )
        return pairs

    def _read_original(self, name: str, start: float, length: float) -> np.ndarray | None:
        """Returns float [time] of a track of the corpus, from second `start` on."""
        recordings, codes = self._auditor.recordings, self._auditor.codes
        if recordings:
            names = [track.name for track in recordings.tracks]
            if name in names:
                track = names.index(name)
                return recordings.read_track(track, round(start * RATE), round(length * RATE))
        if self._auditor.codec and codes:
            names = [track.name for track in codes.tracks]
            first, last = max(round(start * CODE_RATE), 0), round((start + length) * CODE_RATE)
            return _decode_excerpt(
                self._auditor.codec, codes.read_track(names.index(name)), first, last
            )
        return None


def _decode_excerpt(codec: "Codec", codes: np.ndarray, first: int, last: int) -> np.ndarray | None:
    """Decodes codes `first` to `last` of a track [t], float32 [time]; None if it has none there.

    They are decoded from the start of a frame on, so that each keeps its turn (`ops.turns`).
    """
    if first >= min(last, len(codes)):
        return None
    lead_in = first % codec.config.frame_codes(LEVEL)
    sound = codec.decode(codes[first - lead_in : last], LEVEL)[:, 0]
    return sound[lead_in * codec.config.hops[LEVEL] :]


def _add_sound(assets: Assets, sound: Sound, name: str) -> Path | None:
    """Adds the audio of a piece to the page."""
    if not isinstance(sound.wav, Path):
        return None
    return assets.add_file(sound.wav, f"{name}{sound.wav.suffix}")


def _save_sound(assets: Assets, name: str, sound: np.ndarray) -> Path:
    path = assets.new_path(name)
    audio.write_wav(path, sound)
    return assets.relative_path(path)


def _make_file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
