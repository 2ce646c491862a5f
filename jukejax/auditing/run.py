"""The audit of one piece after the other, and what it writes of them: audit.json, report.html."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jukejax.analysis import verdict
from jukejax.auditing import page as audit_page
from jukejax.auditing.corpus import CODE_RATE, LEVEL, RATE, AudioCorpus, CodeCorpus
from jukejax.auditing.evidence import Evidence, Passage, passages, stronger
from jukejax.auditing.pieces import Sound
from jukejax.common import files
from jukejax.data import audio, records
from jukejax.pages.assets import Assets

if TYPE_CHECKING:
    from jukejax.inference.codec import Codec

VERSION = 2  # of what is said of a piece; a change makes kept answers stale
PHASES = 4  # grids on which a sound without codes gets them; music is stored on one of 128
HEARD = 4  # passages of a piece that can be listened to
CONTEXT_SECONDS = 1  # heard before and after a passage


class Audit:
    """Pieces against a corpus.

    Args:
      recordings, codes: the corpus in the one way and the other; at least one.
      codec: that made the codes.
    """

    def __init__(
        self,
        recordings: AudioCorpus | None,
        codes: CodeCorpus | None,
        codec: "Codec | None" = None,
    ):
        self._recordings, self._codes, self._codec = recordings, codes, codec
        ways = [way for way in (recordings, codes) if way]
        self.thresholds = {k: v for way in ways for k, v in way.thresholds.items()}
        self.key = [
            [way.dataset.corpus_hash for way in ways],
            {kind: (limit.similar, limit.copied) for kind, limit in self.thresholds.items()},
        ]

    def warnings(self) -> list[str]:
        """What its owner should know of the thresholds."""
        few = {kind: len(limit.null) for kind, limit in self.thresholds.items()}
        few = {kind: count for kind, count in few.items() if count < 100}
        if not few:
            return []
        told = ", ".join(f"{kind} {count}" for kind, count in few.items())
        return [f"few held-out windows to set thresholds by ({told}); prepare with more --heldout"]

    def __call__(self, sound: Sound) -> dict:
        """What audit.json says of a piece."""
        evidence, ways = self._evidence(sound)
        if not ways:
            raise ValueError(
                f"--input: {sound.name} has nothing to compare with --training: code shards alone "
                "need codes.npz of sample, or --vqvae to make codes of a sound"
            )
        values = {kind: found.values for kind, found in evidence.items()}
        seconds = verdict.judge_seconds(values, self.thresholds)
        seconds = verdict.mark_prompt(seconds, sound.prompt_seconds)
        return {
            "name": sound.name,
            "verdict": verdict.judge_overall(seconds),
            "seconds": len(seconds),
            "prompt_seconds": sound.prompt_seconds,
            "given": sound.given,
            "ways": ways,
            "shares": verdict.compute_shares(seconds),
            "passages": [self._tell(passage) for passage in passages(seconds, evidence)],
            "timeline": [
                asdict(second) | {"evidence": _at(values, s), "places": self._places(evidence, s)}
                for s, second in enumerate(seconds)
            ],
        }

    def _evidence(self, sound: Sound) -> tuple[dict[str, Evidence], list[str]]:
        """By kind, and the ways in which it was looked for."""
        found, ways, mono = {}, [], None
        if self._recordings or (self._codec and sound.codes is None):
            mono = sound.mono()
        if self._recordings and mono is not None:
            found |= self._recordings.evidence(mono)
            ways.append("recordings")
        if self._codes:
            versions = self._versions(sound, mono)
            for codes in versions:
                found = stronger(found, self._codes.evidence(codes))
            if versions:
                ways.append("codes")
        return found, ways

    def _versions(self, sound: Sound, mono: np.ndarray | None) -> list[np.ndarray]:
        """The codes of a sound: its own, or those of `PHASES` grids."""
        codes = sound.top_codes()
        if codes is not None:
            return [codes]
        hop = records.HOPS[LEVEL]
        if self._codec is None or mono is None or len(mono) < 2 * hop:
            return []
        shifts = range(0, hop, hop // PHASES)
        return [self._codec.encode(mono[shift:, None])[LEVEL] for shift in shifts]

    def _tell(self, passage: Passage) -> dict:
        """A passage as audit.json has it."""
        strongest = asdict(passage.strongest)
        place = self._place(strongest["because"], passage.track, passage.offset_seconds)
        return {"start": passage.start, "end": passage.end, **strongest, **place}

    def _places(self, evidence: dict[str, Evidence], second: int) -> dict[str, dict]:
        """Where the like of a second is in the corpus, by kind."""
        found = {kind: e for kind, e in evidence.items() if second < len(e.values)}
        return {
            kind: self._place(kind, int(e.track[second]), float(e.offset[second]))
            for kind, e in found.items()
            if e.track[second] >= 0
        }

    def _place(self, kind: str, track: int, offset: float) -> dict:
        found = self._way(kind).tracks[track]
        return {"track": found.name, "offset_seconds": round(offset + found.offset / RATE, 3)}

    def _way(self, kind: str) -> AudioCorpus | CodeCorpus:
        return self._recordings if kind in ("votes", "correlation") else self._codes

    def write(self, output: Path, sounds: Sequence[Sound], items: Sequence[dict]) -> str:
        """Writes audit.json and report.html; returns the verdict on all pieces together."""
        verdicts = {item["verdict"] for item in items}
        order = (verdict.COPIED, verdict.SIMILAR)
        whole = next((name for name in order if name in verdicts), verdict.NOVEL)
        table = {"verdict": whole, "thresholds": self._limits(), "training": self._corpus()}
        files.write_json(output / "audit.json", table | {"items": list(items)})
        assets = Assets(output)
        names = [f"{number:03d}_{_file_name(sound.name)}" for number, sound in enumerate(sounds)]
        pieces = [
            audit_page.Piece(
                item, self._play(assets, sound, name), self._pairs(assets, sound, name, item)
            )
            for sound, item, name in zip(sounds, items, names, strict=True)
        ]
        page = audit_page.document(table, pieces)
        files.write_text(output / "report.html", page)
        return whole

    def _limits(self) -> dict[str, dict]:
        return {
            kind: {
                "similar": round(limit.similar, 4),
                "copied": round(limit.copied, 4),
                "heldout_windows": len(limit.null),
                "heldout_similar": sum(value >= limit.similar for value in limit.null),
                "heldout_copied": sum(value >= limit.copied for value in limit.null),
            }
            for kind, limit in self.thresholds.items()
        }

    def _corpus(self) -> list[dict]:
        return [
            {
                "folder": str(way.dataset.folder),
                "kind": way.dataset.kind,
                "corpus_hash": way.dataset.corpus_hash,
                "tracks": len(way.tracks),
                "hours": round(sum(track.samples for track in way.tracks) / RATE / 3600, 3),
            }
            for way in (self._recordings, self._codes)
            if way
        ]

    # -- What can be heard -----------------------------------------------------------------------

    def _play(self, assets: Assets, sound: Sound, name: str) -> Path | None:
        """The whole piece, where the page reaches it."""
        if sound.wav is None:
            return None
        return assets.add_file(sound.wav, f"{name}{sound.wav.suffix}")

    def _pairs(
        self, assets: Assets, sound: Sound, name: str, item: dict
    ) -> dict[int, tuple[Path, Path]]:
        """{number of a passage: (generated, original)} of the strongest passages."""
        order = sorted(range(len(item["passages"])), key=lambda i: -item["passages"][i]["reach"])
        mono, pairs = sound.mono() if order else None, {}
        if mono is None:
            return {}
        for i in order[:HEARD]:
            passage = item["passages"][i]
            before = min(CONTEXT_SECONDS, passage["start"], max(passage["offset_seconds"], 0))
            length = before + passage["end"] - passage["start"] + CONTEXT_SECONDS
            original = self._original(passage, passage["offset_seconds"] - before, length)
            if original is not None:
                first = round((passage["start"] - before) * RATE)
                made = mono[first : first + round(length * RATE)]
                pairs[i] = tuple(
                    self._save(assets, f"{name}_{i:02d}_{which}.wav", part)
                    for which, part in (("generated", made), ("original", original))
                )
        return pairs

    def _save(self, assets: Assets, name: str, sound: np.ndarray) -> Path:
        path = assets.new_path(name)
        audio.write_wav(path, sound)
        return assets.relative_path(path)

    def _original(self, passage: dict, start: float, length: float) -> np.ndarray | None:
        """Float [time] of the corpus from second `start` of a track on."""
        if self._recordings:
            names = [track.name for track in self._recordings.tracks]
            if passage["track"] in names:
                track = names.index(passage["track"])
                return self._recordings.read(track, round(start * RATE), round(length * RATE))
        if self._codec and self._codes:
            names = [track.name for track in self._codes.tracks]
            codes = self._codes.codes(names.index(passage["track"]))
            part = codes[max(round(start * CODE_RATE), 0) : round((start + length) * CODE_RATE)]
            return self._codec.decode(part, LEVEL)[:, 0] if len(part) else None
        return None


def _at(values: dict[str, np.ndarray], second: int) -> dict[str, float]:
    """What is known of a second, by kind."""
    known = {kind: float(v[second]) for kind, v in values.items() if second < len(v)}
    return {kind: round(value, 4) for kind, value in known.items() if np.isfinite(value)}


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
