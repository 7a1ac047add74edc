"""Stops the local AWS of a state directory, and the function processes it started."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import time
from pathlib import Path

import state as states

GRACE_SECONDS = 5


def stop(directory: Path) -> bool:
    """Ends the instance by its own process id. Says whether there was one."""
    state = states.read(directory)
    if state is None:
        return False
    running = states.is_running(state)
    if running:
        end_session(state["pid"])
    states.path(directory).unlink(missing_ok=True)
    shutil.rmtree(directory / "tmp", ignore_errors=True)
    return running


def end_session(pid: int) -> None:
    """Ends the process and its group: MiniStack leads a session, the functions are in it."""
    os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while group_is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    if group_is_alive(pid):
        os.killpg(pid, signal.SIGKILL)


def group_is_alive(pid: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # Another process started it, and that one's parent collects it.
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    states.add_state_argument(parser)
    given = parser.parse_args()
    print("local AWS stopped" if stop(given.state) else "no local AWS was running")


if __name__ == "__main__":
    main()
