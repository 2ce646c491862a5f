"""Comparison of a sound with the training corpus: evidence, verdicts, passages."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from jukejax.analysis import verdict
from jukejax.auditing import evidence as evidence_module
from jukejax.auditing.corpus import LEVEL, RATE, AudioCorpus, CodeCorpus
from jukejax.auditing.evidence import Evidence, Passage
from jukejax.auditing.pieces import Sound
from jukejax.data.audio import Samples
from jukejax.inference.spans import MonoSection
from jukejax.weights.codec_identity import compare_codecs

if TYPE_CHECKING:
    from jukejax.inference.codec import Codec

PHASES = 4  # grids on which a sound without codes is encoded, of all positions in a frame of codes
FEW_WINDOWS = 100  # number of held-out windows below which thresholds are uncertain


class Auditor:
    """Compares sounds with a corpus.

    Args:
      recordings, codes: the corpus as audio and as codes, at least one of the two.
      codec: the VQ-VAE of the codes.

    Attributes:
      thresholds: by kind of evidence.
      key: JSON value that determines, with the sound, its result.
    """

    def __init__(
        self,
        recordings: AudioCorpus | None,
        codes: CodeCorpus | None,
        codec: "Codec | None" = None,
    ):
        self.recordings, self.codes, self.codec = recordings, codes, codec
        self.corpora = [corpus for corpus in (recordings, codes) if corpus]
        self.thresholds = {
            kind: limit for corpus in self.corpora for kind, limit in corpus.thresholds.items()
        }
        self.key = [
            [corpus.dataset.corpus_hash for corpus in self.corpora],
            {kind: (limit.similar, limit.copied) for kind, limit in self.thresholds.items()},
        ]

    def warnings(self) -> list[str]:
        """Returns warnings about the thresholds, for the user."""
        counts = {kind: len(limit.null) for kind, limit in self.thresholds.items()}
        few = [f"{kind} {count}" for kind, count in counts.items() if count < FEW_WINDOWS]
        if not few:
            return []
        return [
            f"few held-out windows to set thresholds by ({', '.join(few)}); prepare with more "
            "--heldout"
        ]

    def audit_sound(self, sound: Sound) -> dict:
        """Returns the item of audit.json for a sound.

        Raises:
          ValueError: the sound has neither audio nor codes that can be compared.
        """
        evidence, ways = self._collect_evidence(sound)
        if not ways:
            raise ValueError(
                f"--input: {sound.name} has nothing to compare with --training: code shards alone "
                "need codes.npz of sample, or --vqvae to make codes of a sound"
            )
        values = {kind: each.values for kind, each in evidence.items()}
        seconds = verdict.judge_seconds(values, self.thresholds)
        seconds = verdict.mark_prompt(seconds, sound.prompt_seconds)
        passages = evidence_module.find_passages(seconds, evidence)
        return {
            "name": sound.name,
            "verdict": verdict.judge_overall(seconds),
            "seconds": len(seconds),
            "prompt_seconds": sound.prompt_seconds,
            "given": sound.given,
            "ways": ways,
            "shares": verdict.compute_shares(seconds),
            "passages": [self._describe_passage(passage) for passage in passages],
            "timeline": [
                asdict(second)
                | {"evidence": _values_at(values, s), "places": self._places_at(evidence, s)}
                for s, second in enumerate(seconds)
            ],
        }

    def _collect_evidence(self, sound: Sound) -> tuple[dict[str, Evidence], list[str]]:
        """Returns (evidence by kind, methods of the search)."""
        evidence: dict[str, Evidence] = {}
        ways = []
        with sound.open_audio() as audio:
            if self.recordings and audio is not None:
                evidence |= self.recordings.find_evidence(audio)
                ways.append("recordings")
            if self.codes and (versions := self._code_versions(sound, audio)):
                for codes in versions:
                    code_evidence = self.codes.find_evidence(codes)
                    evidence = evidence_module.merge_evidence(evidence, code_evidence)
                ways.append("codes")
        return evidence, ways

    def _code_versions(self, sound: Sound, audio: Samples | None) -> list[np.ndarray]:
        """Returns the stored codes of a sound, or those of `PHASES` grids.

        Raises:
          ValueError: the stored codes are those of another VQ-VAE than the corpus.
        """
        assert self.codes is not None
        codes = sound.read_top_codes()
        if codes is not None:
            dataset = self.codes.dataset
            if compare_codecs(sound.read_codec_identity(), dataset.info.get("vqvae")) is False:
                raise ValueError(
                    f"{sound.codes} was made with another VQ-VAE than the codes of "
                    f"--training={dataset.folder}; give code shards of that VQ-VAE, or audio shards"
                )
            return [codes]
        if self.codec is None or audio is None or len(audio) < 2 * self.codec.config.unit:
            return []
        unit = self.codec.config.unit
        shifts = range(0, unit, unit // PHASES)
        sections = [MonoSection(audio, shift, len(audio)) for shift in shifts]
        return [codes[LEVEL] for _, codes in self.codec.encode_all(sections)]

    def _describe_passage(self, passage: Passage) -> dict:
        strongest = asdict(passage.strongest)
        place = self._describe_place(strongest["because"], passage.track, passage.offset_seconds)
        return {"start": passage.start, "end": passage.end, **strongest, **place}

    def _places_at(self, evidence: Mapping[str, Evidence], second: int) -> dict[str, dict]:
        """Returns the most similar position in the corpus for a second, by kind of evidence."""
        return {
            kind: self._describe_place(kind, int(each.track[second]), float(each.offset[second]))
            for kind, each in evidence.items()
            if second < len(each.values) and each.track[second] >= 0
        }

    def _describe_place(self, kind: str, track: int, offset: float) -> dict:
        corpus = self.recordings if kind in ("votes", "correlation") else self.codes
        assert corpus is not None  # position of the evidence
        original = corpus.tracks[track]
        return {
            "track": original.name,
            "offset_seconds": round(offset + original.offset / RATE, 3),
        }


def _values_at(values: Mapping[str, np.ndarray], second: int) -> dict[str, float]:
    """Returns the finite values of a second, by kind of evidence."""
    at_second = {kind: float(v[second]) for kind, v in values.items() if second < len(v)}
    return {kind: round(value, 4) for kind, value in at_second.items() if np.isfinite(value)}
