"""Signals during training: the loop ends after the current step and saves a checkpoint first."""

import signal

from jukejax.common import interruption
from jukejax.runtime import distributed
from jukejax.training.checkpoint import Checkpoints
from jukejax.training.step_watch import StepWatch


class Interruption:
    """Records SIGINT and SIGTERM, so that the run can save before it ends.

    With several processes JAX handles SIGTERM, and Ctrl-C is turned into it: all processes must
    stop at the same step.

    Attributes:
      exception: what to raise after the checkpoint; None while no signal has come.
    """

    def __init__(self) -> None:
        self.exception: BaseException | None = None
        if distributed.is_shared():
            handlers = {signal.SIGINT: lambda *_: signal.raise_signal(signal.SIGTERM)}
        else:
            handlers = {
                signal.SIGINT: lambda *_: self.request(KeyboardInterrupt()),
                signal.SIGTERM: lambda *_: self.request(interruption.Stopped()),
            }
        self._previous = {
            number: signal.signal(number, handler) for number, handler in handlers.items()
        }

    def request(self, exception: BaseException) -> None:
        """Requests that the run ends with this exception."""
        self.exception = exception

    def watch(self, steps: StepWatch, checkpoints: Checkpoints) -> None:
        """Lets SIGTERM end the process at once while no step ends, and a second Ctrl-C always."""
        if (signals := interruption.active()) is not None:
            signals.idle_seconds = steps.idle_seconds
            signals.describe = checkpoints.describe_last

    def acknowledge(self) -> None:
        """Notes that the loop has ended: from here on the process ends by itself."""
        if (signals := interruption.active()) is not None:
            signals.acknowledge()
            signals.idle_seconds = None

    def release(self) -> None:
        """Restores the handlers from before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
