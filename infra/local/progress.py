"""One line per step, which tells how long the step is taking while it takes long."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType


class Step:
    """`with Step("starting"):` prints the step, its running time, and how it ended."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._started = 0.0

    def __enter__(self) -> Step:
        self._started = time.monotonic()
        if sys.stderr.isatty():
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._ticker.is_alive():
            self._ticker.join()
        mark = "failed" if kind else "done"
        self._print(f"{mark} in {self._seconds():.1f} s", end="\n")

    def _tick(self) -> None:
        while not self._ended.wait(0.5):
            self._print(f"{self._seconds():.0f} s", end="")

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _print(self, note: str, end: str) -> None:
        start = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{start}  {self._what} … {note}", end=end, file=sys.stderr, flush=True)
