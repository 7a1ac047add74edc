"""What is known about a running local AWS: one JSON file in its state directory.

Several instances run side by side, each with its own directory, port and temporary files: tests start
their own while a `make run` is up. A client of an instance reads its file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DIRECTORY = ROOT / ".local"
SERVER = "infra/local/server.py"

State = dict[str, Any]


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--state`; the environment variable is for callers of callers, as make is."""
    default = os.environ.get("SWITCHBOARD_STATE", str(DEFAULT_DIRECTORY))
    parser.add_argument(
        "--state",
        type=lambda path: Path(path).resolve(),
        default=Path(default).resolve(),
        metavar="DIR",
        help="where this instance keeps its state ($SWITCHBOARD_STATE; default: .local)",
    )


def path(directory: Path) -> Path:
    """The state file of a directory."""
    return directory / "state.json"


def read(directory: Path) -> State | None:
    """The state, or nothing where no instance was started."""
    try:
        return json.loads(path(directory).read_text())
    except FileNotFoundError:
        return None


def write(directory: Path, state: State) -> None:
    """Replaces the state file in one step, so that a reader never sees half of it."""
    draft = path(directory).with_suffix(".new")
    draft.write_text(json.dumps(state, indent=2) + "\n")
    draft.replace(path(directory))


def is_running(state: State) -> bool:
    """Whether the instance's own process is alive. A process id may have been given to another."""
    command = ["ps", "-o", "command=", "-p", str(state["pid"])]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return SERVER in shown.stdout


def environment(state: State) -> dict[str, str]:
    """This process's environment, with AWS leading to the instance and to nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | state["environment"]
