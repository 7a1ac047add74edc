"""Runs one function of this checkout with one event, against the local AWS.

The function is the binary in target/debug, at the runtime API of `cargo lambda watch`, with the environment of the
deployed one: its own settings, and AWS leading to the local instance. `cargo lambda invoke` sends the event.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import state as states
from deploy import Aws
from start import free_port

TOOLS = states.ROOT / ".venv" / "tools" / "bin"
READY_SECONDS = 30


def event_files(function: str, event: str) -> list[Path]:
    """A file by its path, or a sample by its name: all its events, in their order."""
    if Path(event).is_file():
        return [Path(event).resolve()]
    folder = states.ROOT / "events" / function
    folder = folder / "gateway" if (folder / "gateway").is_dir() else folder
    files = sorted(folder.glob("*.json"))
    named = [path for path in files if path.stem == event or path.stem.rpartition(".")[0] == event]
    if not named:
        known = sorted({path.stem for path in files})
        raise SystemExit(f"{function} has no event {event}; it has: {', '.join(known) or 'none'}")
    return named


def settings(state: states.State, function: str) -> dict[str, str]:
    """The environment of the deployed function, for a process outside of Lambda."""
    functions = state["stack"]["functions"]
    if function not in functions:
        raise SystemExit(f"there is no function {function}; there are: {', '.join(sorted(functions))}")
    deployed = Aws(state).client("lambda").get_function_configuration(FunctionName=functions[function])
    own = deployed.get("Environment", {}).get("Variables", {})
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    return states.environment(state) | own | {"PATH": path}


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process, for as long as it is needed."""
    process = subprocess.Popen(command, env=environment, cwd=states.ROOT, stdout=sys.stderr)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    """Returns when the server takes connections."""
    deadline = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("cargo lambda watch did not start")


def send(function: str, file: Path, environment: dict[str, str], port: int, started: subprocess.Popen[bytes]) -> None:
    """Sends one event to a function. The answer goes to standard output; all else goes to standard error."""
    print(f"-- {function} ← {file.name}", file=sys.stderr, flush=True)
    command = ["cargo", "lambda", "invoke", function, "--invoke-address", "127.0.0.1",
               "--invoke-port", str(port), "--data-file", str(file)]  # fmt: skip
    with subprocess.Popen(command, env=environment, cwd=states.ROOT) as sender:
        while sender.poll() is None:
            if started.poll() is not None:
                sender.terminate()
                raise SystemExit(f"{function} ended with status {started.returncode}")
            time.sleep(0.05)
    if sender.returncode:
        raise SystemExit(sender.returncode)


def invoke(directory: Path, function: str, event: str) -> None:
    """Sends an event, or all of a sample's, to the function."""
    state = states.read(directory)
    if state is None or not states.is_running(state) or "stack" not in state:
        raise SystemExit("no stack is deployed locally; run: make local")
    files = event_files(function, event)
    environment = settings(state, function)
    port = free_port()
    runtime = {
        "AWS_LAMBDA_RUNTIME_API": f"http://127.0.0.1:{port}/.rt/{function}", "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    }  # fmt: skip
    watch = ["cargo", "lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1", "--invoke-port", str(port)]
    with running(watch, environment) as server:
        wait_for(server, port)
        with running([str(states.ROOT / "target" / "debug" / function)], environment | runtime) as started:
            for file in files:
                send(function, file, environment, port, started)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    states.add_state_argument(parser)
    parser.add_argument("function", help="its name, as twilio, enrich, calls or reconcile")
    parser.add_argument("event", help="a sample's name (completed), or the path of a file")
    given = parser.parse_args()
    invoke(given.state, given.function, given.event)


if __name__ == "__main__":
    main()
