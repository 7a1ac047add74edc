"""The operator's command line against the deployed stack."""

from __future__ import annotations

import json
import subprocess
import sys

from stack import ROOT, SIGNING_SECRET, states, wait_for
from test_faults import post


def switchboard(world, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command line as an operator would."""
    tables = {f"{name.upper()}_TABLE": table for name, table in world.stack.stack["tables"].items()}
    environment = states.environment(world.stack.state) | tables
    command = [str(ROOT / "target" / "debug" / "switchboard"), "--stage", "local", *arguments]
    return subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)


def test_configuration_is_checked_written_and_shown_without_its_secrets(world):
    source = {"secrets": ["fake-operator-secret"], "country": "AU"}
    refused = switchboard(world, "put", "sources/intake/operator", text=json.dumps(source | {"country": "Australia"}))
    assert refused.returncode == 1 and "country: must be two capital letters" in refused.stderr
    assert "sources/intake/operator" not in switchboard(world, "list").stdout
    assert switchboard(world, "put", "sources/intake/operator", text=json.dumps(source)).returncode == 0
    assert "sources/intake/operator" in switchboard(world, "list").stdout
    shown = switchboard(world, "show", "sources/intake/operator").stdout
    assert json.loads(shown) == {"secrets": ["[secret]"], "country": "AU"}
    # What it wrote, the function reads: the secret that opens nothing makes it look again.
    request = post("operator-1", "operator")
    request.headers["x-crm-intake-secret"] = "fake-operator-secret"
    wait_for("the new source", lambda: world.stack.send(request).status == 200, 20)


def test_a_call_is_found_and_sent_once_more(world):
    key = "test/story/story-1"
    assert world.stack.send(post("story-1", "story")).status == 200
    wait_for(key, lambda: world.stack.settled(key))
    story = switchboard(world, "call", key)
    assert story.returncode == 0, story.stderr
    for expected in ("Answered", "crm#call.completed delivered", "warehouse#call.completed delivered", "delivered: 200"):
        assert expected in story.stdout
    assert "491570156" not in story.stdout
    assert switchboard(world, "call", "test/story/absent").returncode == 1

    first = world.delivered("/warehouse", key)
    assert len(first) == 1
    assert switchboard(world, "redeliver", key, "warehouse#call.completed").returncode == 0
    world.stack.client("lambda").invoke(FunctionName=world.stack.stack["functions"]["sweep"], Payload=b"{}")
    again = wait_for("the second request", lambda: world.delivered("/warehouse", key)[1:])
    assert again[0].body == first[0].body
    assert again[0].headers["idempotency-key"] != first[0].headers["idempotency-key"]
    assert SIGNING_SECRET not in story.stdout


def test_one_function_handles_a_sample_outside_of_lambda(world):
    command = [sys.executable, ROOT / "infra/local/invoke.py", "--state", world.stack.directory, "twilio", "completed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    statuses = {answer["statusCode"] for line in done.stdout.splitlines() if "statusCode" in (answer := json.loads(line))}
    assert statuses == {200}, done.stdout
