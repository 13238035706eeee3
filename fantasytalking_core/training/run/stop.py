"""Ctrl+C and SIGTERM: the run writes where it stands, and ends. A second time, it ends at once."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ECHO = 2.0
"""Seconds in which a signal counts once where a launcher is: it passes on what the terminal has sent already."""


class Stop:
    """Whether the run was asked to end.

    Attributes:
        signal: by which one, 0 where it was not.
    """

    def __init__(self) -> None:
        self.signal, self.process, self.since = 0, os.getpid(), 0.0

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler."""
        if os.getpid() != self.process:  # a forked reader of the cache: ends with the run
            return
        echoed = "LOCAL_RANK" in os.environ and time.monotonic() - self.since < ECHO
        if self.signal and not echoed:
            sys.stderr.write("Ended at once: the same command goes on from the last checkpoint.\n")
            sys.stderr.flush()
            os._exit(128 + number)
        if not self.signal:
            sys.stderr.write("Interrupted: a checkpoint is written after this step. Once more ends at once, without one.\n")
            self.signal, self.since = number, time.monotonic()

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """While it lasts, signals ask instead of ending the process."""
        before = {number: signal.signal(number, self.ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
