"""The steps of a run whose checkpoints are kept for good."""

from dataclasses import dataclass

from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import CustomSteps, EveryNSteps, PreservationPolicy


@dataclass(frozen=True)
class Milestones:
    """Steps of a run that are saved, evaluated if the run has evaluations, and never removed.

    Attributes:
      at: single steps.
      every: interval of further steps; 0: none.
    """

    at: tuple[int, ...] = ()
    every: int = 0

    @classmethod
    def read(cls, config: ConfigDict) -> "Milestones":
        """Reads `checkpoint_at`, a step or several, and `keep_every`."""
        at = config.get("checkpoint_at", ())
        return cls((at,) if isinstance(at, int) else tuple(at), config.get("keep_every", 0))

    def __contains__(self, step: int) -> bool:
        return step in self.at or bool(self.every and step % self.every == 0)

    def make_policies(self) -> list[PreservationPolicy]:
        """Returns the policies by which Orbax keeps the checkpoints."""
        policies: list[PreservationPolicy] = [CustomSteps(self.at)] if self.at else []
        return policies + ([EveryNSteps(self.every)] if self.every else [])
