"""Destinations in trouble on the deployed stack: gone, paused, asking for time, limited, failing; and events
beside a call's end, and rotated signing secrets."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from http_file import Request
from stack import SIGNING_SECRET, correlation_id, wait_for
from stand_ins import Answer
from standardwebhooks import Webhook, WebhookVerificationError
from test_faults import SECRET, destination, post
from test_operator import switchboard

NEW_SECRET = "whsec_ZmFrZS1zaWduaW5nLXNlY3JldC1hZnRlci1yb3RhdGlvbg=="
NAMES = ("is-gone", "pausing", "dated", "limited", "failing", "popped", "rotating")


@pytest.fixture(scope="module")
def protected(world):
    """A destination for each test, all known to the functions."""
    special = {
        "limited": {"rate_per_second": 2, "burst": 2},
        "failing": {"retry_seconds": [1] * 20},
        "popped": {"filter": {"sources": ["popped"], "events": ["call.started", "call.completed"]}},
        "rotating": {"signing_secrets": [SIGNING_SECRET]},
    }
    for name in NAMES:
        wanted = destination(f"{world.crm.url}/{name}", name, **special.get(name, {}))
        world.stack.configure(f"destinations/{name}", wanted)
    source = {"secrets": [SECRET], "create_contacts": False, "announce_starts": True, "country": "RU"}
    world.stack.configure("sources/fmc/popped", source)
    world.stack.refresh()
    return world


def sweep(world) -> None:
    """Runs the sweep now and not within a minute."""
    world.stack.client("lambda").invoke(FunctionName=world.stack.stack["functions"]["sweep"], Payload=b"{}")


def gate(world, name: str) -> dict:
    """How a destination stands."""
    found = world.stack.calls.get_item(Key={"pk": "destinations", "sk": name}, ConsistentRead=True)
    return found.get("Item", {})


def parked(world, name: str, call: str) -> dict | None:
    """A delivery that waits for its destination."""
    delivery = world.stack.deliveries(f"test/{name}/{call}").get(f"{name}#call.completed", {})
    return delivery if delivery.get("parked") else None


def operate(world, *words: str) -> str:
    """What the command line answers about a destination."""
    done = switchboard(world, "destination", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def delivered(world, name: str, call: str) -> dict:
    """Waits until a call is delivered, with a sweep now and then, as there is one each minute."""
    key, began = f"test/{name}/{call}", time.monotonic()

    def is_told() -> dict | None:
        nonlocal began
        if time.monotonic() - began > 5:
            began = time.monotonic()
            sweep(world)
        found = world.stack.deliveries(key).get(f"{name}#call.completed")
        return found if found and found["state"] == "delivered" else None

    return wait_for(key, is_told, 120)


def workers_know(world) -> None:
    """A worker may know a gate as it was five seconds ago; new ones know it at once."""
    world.stack.refresh()


def test_a_410_stops_the_destination_and_says_so(protected):
    world, name = protected, "is-gone"
    world.crm.script(f"/{name}", then=Answer(410))
    assert world.stack.send(post("gone-1", name)).status == 200
    wait_for("the stop", lambda: gate(world, name).get("mode", {}).get("is") == "stopped")
    workers_know(world)
    assert world.stack.send(post("gone-2", name)).status == 200
    wait_for("the second to wait", lambda: parked(world, name, "gone-2"))
    assert len(world.crm.received(f"/{name}")) == 1
    sweep(world)
    assert len(world.crm.received(f"/{name}")) == 1
    metric = lambda line: line.get("destination") == name and line.get("stopped") == 1  # noqa: E731
    wait_for("the metric", lambda: [line for line in world.stack.records("sweep") if metric(line)])
    wait_for("the error", lambda: [line for line in world.stack.logs("deliver") if "410" in line and "ERROR" in line])
    assert "410" in operate(world, "status", name) and "waiting      2" in operate(world, "status", name)

    world.crm.script(f"/{name}", then=Answer(200))
    assert "is resumed" in operate(world, "resume", name)
    for call in ("gone-1", "gone-2"):
        delivery = delivered(world, name, call)
        assert delivery["failures"] == 0
    assert "running" in operate(world, "status", name)


def test_pause_drain_and_resume_by_the_command_line(protected):
    world, name = protected, "pausing"
    assert "is paused" in operate(world, "pause", name)
    assert "paused" in operate(world, "status")
    workers_know(world)
    assert world.stack.send(post("paused-1", name)).status == 200
    wait_for("it to wait", lambda: parked(world, name, "paused-1"))
    sweep(world)
    assert world.crm.received(f"/{name}") == []
    assert "is drained" in operate(world, "drain", name)
    # Until then a worker parks among the others.
    workers_know(world)
    assert world.stack.send(post("paused-2", name)).status == 200
    delivered(world, name, "paused-1")
    assert wait_for("the new one to be held", lambda: parked(world, name, "paused-2"))["parked"] == "new"
    assert "held back    1" in operate(world, "status", name)
    assert "is resumed" in operate(world, "resume", name)
    delivered(world, name, "paused-2")
    assert len(world.crm.received(f"/{name}")) == 2
    assert "is not configured" in switchboard(world, "destination", "pause", "no-such").stderr


def test_a_date_in_retry_after_holds_for_the_whole_destination(protected):
    world, name = protected, "dated"
    until = int(time.time()) + 12
    world.crm.script(f"/{name}", Answer(429, {"Retry-After": formatdate(until, usegmt=True)}))
    assert world.stack.send(post("dated-1", name)).status == 200
    wait_for("the answer", lambda: gate(world, name).get("breaker", {}).get("is") == "open")
    workers_know(world)
    assert world.stack.send(post("dated-2", name)).status == 200
    delivered(world, name, "dated-1")
    delivered(world, name, "dated-2")
    got = world.crm.received(f"/{name}")
    assert len(got) == 3 and all(one.at >= until for one in got[1:])


def test_a_rate_is_kept(protected):
    world, name = protected, "limited"
    records = [json.loads(post(f"limited-{n}", name).body) for n in range(10)]
    request = post("limited", name)
    request.body = json.dumps(records).encode()
    assert world.stack.send(request).body["accepted"] == 10
    for n in range(10):
        delivered(world, name, f"limited-{n}")
    at = sorted(one.at for one in world.crm.received(f"/{name}"))
    assert len(at) == 10
    # Two at once and two a second; a message may be a second late, and its follower is not.
    for n, first in enumerate(at):
        for m, last in enumerate(at[n:], start=1):
            assert m <= 2 + 2 * (last - first + 1.5)


def test_a_breaker_opens_and_closes(protected):
    world, name = protected, "failing"
    world.crm.script(f"/{name}", then=Answer(500))
    assert world.stack.send(post("failing-1", name)).status == 200
    wait_for("the breaker", lambda: gate(world, name).get("breaker", {}).get("is") == "open", 90)
    wait_for("it to wait", lambda: parked(world, name, "failing-1"))
    asked = len(world.crm.received(f"/{name}"))
    # Each environment counts for itself.
    assert 5 <= asked < 20
    assert "its requests fail" in operate(world, "status", name)
    sweep(world)
    metric = lambda line: line.get("destination") == name and line.get("breaker_open") == 1  # noqa: E731
    wait_for("the metric", lambda: [line for line in world.stack.records("sweep") if metric(line)])
    world.crm.script(f"/{name}", then=Answer(200))
    operate(world, "resume", name)
    delivered(world, name, "failing-1")
    wait_for("the breaker to close", lambda: gate(world, name)["breaker"]["is"] == "closed")
    assert len(world.crm.received(f"/{name}")) <= asked + 2
    assert gate(world, "warehouse") == {}


def test_a_start_is_told_while_the_call_lasts(protected):
    world = protected
    fields = {"cmd": "event", "crm_token": SECRET, "phone": "79991112233", "user": "fake", "direction": "in",
              "diversion": "79990001122", "callid": "popped-1"}  # fmt: skip
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    def event(kind: str) -> Request:
        body = "&".join(f"{name}={value}" for name, value in (fields | {"type": kind}).items())
        return Request("POST", "/webhooks/fmc?source=popped", headers, body.encode())

    reply = world.stack.send(event("INCOMING"))
    assert reply.status == 200, reply.body
    got = wait_for("the start", lambda: world.crm.received("/popped"))
    assert got[0].json()["type"] == "call.started"
    assert got[0].headers["x-correlation-id"] == correlation_id(got[0].json()["data"]["provider"] + "/popped/popped-1")


def test_the_official_package_verifies_old_and_new_secret_while_both_live(protected):
    world, name = protected, "rotating"
    for n, (secrets, good, bad) in enumerate([
        ([SIGNING_SECRET], [SIGNING_SECRET], [NEW_SECRET]),
        ([SIGNING_SECRET, NEW_SECRET], [SIGNING_SECRET, NEW_SECRET], []),
        ([NEW_SECRET], [NEW_SECRET], [SIGNING_SECRET]),
    ]):  # fmt: skip
        wanted = destination(f"{world.crm.url}/{name}", name, signing_secrets=secrets)
        world.stack.configure(f"destinations/{name}", wanted)
        world.stack.refresh()
        assert world.stack.send(post(f"rotated-{n}", name)).status == 200
        delivered(world, name, f"rotated-{n}")
        (got,) = world.delivered(f"/{name}", f"test/{name}/rotated-{n}")
        for secret in good:
            Webhook(secret).verify(got.body, got.headers)
        for secret in bad:
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(got.body, got.headers)
