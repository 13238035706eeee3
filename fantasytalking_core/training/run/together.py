"""Processes that end together: where one fails, the others end at once and say with which words, instead of waiting for it."""

import os
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

import torch.distributed

EVERY = 0.5
"""Seconds between two looks."""
HOLD = 3.0
"""Seconds for which a process that fails stays, so that all others have looked."""
CONNECT, ANSWER = timedelta(seconds=2), timedelta(minutes=10)
"""For how long the store is asked: short while it may not be there yet, for the next time is asked sooner."""
GRACE = 10.0
"""Seconds that the last of them need to end in order, when the first one has."""
FAILED = "fantasytalking/failed"


class Together:
    """The launcher's processes, by a thread that looks for the failure of another one in the store that all share.

    A process that ends in the middle of what processes do together is waited for until `LONGEST_WAIT`. Without a
    launcher this is nothing.
    """

    def __init__(self) -> None:
        self.process, self.processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.store: torch.distributed.TCPStore | None = None
        self.connected, self.ended, self.ending = threading.Event(), threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        if self.processes > 1 and "MASTER_ADDR" in os.environ:
            self.thread.start()

    def fail(self, words: str) -> None:
        """Say why this process ends, unless it is because another one has; ends it where there are others."""
        if self.processes == 1:
            sys.stderr.write(f"{words}\n")
            return
        if self.connected.wait(HOLD) and self.store is not None:
            with suppress(RuntimeError):
                self._end_with(self.store.compare_set(FAILED, "", f"{self.process} {_last_line(words)}"))
        self._end(words)

    def finish(self) -> None:
        """The run is done: nothing asks the store any more while the process ends."""
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join(GRACE)

    def leave(self, status: int) -> int:
        """The run's exit status; where there are other processes, end this one with it.

        Not by way of the interpreter: that takes the group apart, and holds its lock while it waits for gloo's thread, which
        may wait for the same lock to leave a tensor behind (torch 2.11, c10d::Reducer). The process then never ended.
        """
        if self.processes > 1:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        return status

    def _watch(self) -> None:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        while self.store is None and not self.ended.wait(EVERY):
            if not (os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or torch.distributed.is_initialized()):
                continue  # it is one of the processes that is to make it
            with suppress(RuntimeError):
                store = torch.distributed.TCPStore(*address, is_master=False, wait_for_workers=False, timeout=CONNECT)
                store.set_timeout(ANSWER)
                self.store = store
        self.connected.set()
        try:
            while not self.ended.wait(EVERY):
                if store.check([FAILED]):
                    self._end_with(store.get(FAILED))
        except RuntimeError:  # it is gone, with the run or before
            if not self.ended.wait(GRACE):
                self._end(f"Process 0 has been ended, or its machine is gone, and process {self.process} ends with it.")

    def _end_with(self, told: bytes) -> None:
        """Where this is what another process has told."""
        process, _, words = told.decode().partition(" ")
        if int(process) != self.process:
            self._end(f"Process {process} of {self.processes} has failed, and process {self.process} ends with it: {words}")

    def _end(self, words: str) -> NoReturn:
        """From whichever thread comes first; what is left of the group could wait for the others."""
        if self.ending.acquire(blocking=False):
            sys.stderr.write(f"{words}\n")
            sys.stdout.flush()
            sys.stderr.flush()
        if self.process == 0:  # who may hold the store: the others read it first
            time.sleep(HOLD)
        os._exit(1)


def _last_line(words: str) -> str:
    """Of a traceback, the error."""
    return (words.strip().splitlines() or ["?"])[-1]
