"""Starts a local AWS (MiniStack) on a free port of 127.0.0.1 and waits until it answers."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import state as states
from progress import Step

REGION = "eu-central-1"
# MiniStack's root key: with AUTH=true it may do everything, as the functions' roles may not.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
READY_SECONDS = 60
SERVER = [states.ROOT / ".venv" / "aws" / "bin" / "python", states.ROOT / states.SERVER]


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def server_environment(directory: Path, port: int, auth: bool) -> dict[str, str]:
    """MiniStack's environment. Functions inherit it, so it has nothing of the caller's."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "TMPDIR": str(directory / "tmp"),
        "LANG": "C.UTF-8",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "AUTH": "true" if auth else "false",
        "LOG_LEVEL": "INFO",
        "PYTHONUNBUFFERED": "1",
        "S3_DATA_DIR": str(directory / "s3"),
        # The functions inherit it; without it they would send requests to the real AWS.
        "AWS_ENDPOINT_URL": endpoint(port),
        **CREDENTIALS,
    }


def endpoint(port: int) -> str:
    """Where the services answer, all on one port."""
    return f"http://127.0.0.1:{port}"


def launch(directory: Path, auth: bool) -> states.State:
    """Starts the process, in a session of its own so that stopping it takes its functions along."""
    port = free_port()
    log = directory / "aws.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            SERVER,
            env=server_environment(directory, port, auth),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    wait_until_ready(process, port, log)
    environment = {
        "AWS_ENDPOINT_URL": endpoint(port),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        **CREDENTIALS,
    }
    return {
        "pid": process.pid,
        "port": port,
        "endpoint": endpoint(port),
        "region": REGION,
        "auth": auth,
        "log": str(log),
        "environment": environment,
    }


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns when the server says that it is ready; fails with its log when it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the local AWS ended at once:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{endpoint(port)}/_ministack/ready", timeout=1):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    process.kill()
    raise SystemExit(f"the local AWS was not ready after {READY_SECONDS} s; its log: {log}")


def start(directory: Path, auth: bool = False) -> states.State:
    """Starts an instance in this directory, or finds the one that runs there already."""
    running = states.read(directory)
    if running and states.is_running(running):
        if running["auth"] != auth:
            raise SystemExit(f"one with AUTH={running['auth']} already runs in {directory}")
        return running
    shutil.rmtree(directory / "tmp", ignore_errors=True)
    (directory / "tmp").mkdir(parents=True)
    with Step("starting the local AWS"):
        state = launch(directory, auth)
    states.write(directory, state)
    return state


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    states.add_state_argument(parser)
    parser.add_argument("--auth", action="store_true", help="enforce IAM: a role's rights count")
    given = parser.parse_args()
    state = start(given.state, given.auth)
    print(f"local AWS at {state['endpoint']}, state in {states.path(given.state)}", file=sys.stderr)


if __name__ == "__main__":
    main()
