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
      exception: the exception to raise after the checkpoint; None before the first signal.
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
        """Requests that the run ends with this exception after the current step."""
        self.exception = exception

    def watch(self, steps: StepWatch, checkpoints: Checkpoints) -> None:
        """Connects the signal watch to this run, which it ends if no step makes progress."""
        if (signals := interruption.active_watch()) is not None:
            signals.idle_seconds = steps.idle_seconds
            signals.describe = checkpoints.describe_last

    def acknowledge(self) -> None:
        """Ends the supervision by the signal watch, as the loop has ended."""
        if (signals := interruption.active_watch()) is not None:
            signals.acknowledge()
            signals.idle_seconds = None

    def release(self) -> None:
        """Restores the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
