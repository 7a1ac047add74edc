"""Calls that webhooks missed, pulled from a stand-in provider by the deployed stack."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from conftest import World
from stack import Reply, Request, wait_for
from stand_ins import Server

TOKENS = {"sync": "fake-token-that-may-sync-01", "read": "fake-token-that-may-read-01"}
RECORDS = 1_000
SOURCE = {
    "secrets": ["fake-onecom-pull-secret"],
    "country": "IL",
    "time_zone": "Asia/Jerusalem",
}


class Pbx(Server):
    """A MiRTA PBX whose calls are listed a day at a time, as CSV."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, list[str]]] = []
        self.waits = 1
        self.gate = threading.Event()
        self.gate.set()
        self.today = datetime.now(ZoneInfo(SOURCE["time_zone"])).date()

    def day(self, date: str) -> list[dict[str, str]]:
        """The records of a day: as many today as in all days before."""
        back = (self.today - datetime.fromisoformat(date).date()).days
        count = RECORDS if back == 0 else 10 if 0 < back <= 7 else 0
        return [
            {
                "uniqueid": f"pull-{back}-{n}",
                "start": f"{date} 00:{n // 60 % 60:02}:{n % 60:02}",
                "src": "0501234567",
                "dst": "101",
                "duration": "30",
                "billsec": "20",
                "disposition": "ANSWERED",
            }
            for n in range(count)
        ]

    def handle(self, handler, _headers: dict[str, str], _body: bytes) -> None:
        """Lists a day; the first question is answered with 429."""
        query = parse_qs(urlsplit(handler.path).query)
        self.asked.append(query)
        self.gate.wait(20)
        if self.waits > 0:
            self.waits -= 1
            handler.answer(429, b"{}", {"retry-after": "1"})
            return
        if query.get("key") != ["fake-key"]:
            handler.answer(403)
            return
        table = io.StringIO()
        names = ["uniqueid", "start", "src", "dst", "duration", "billsec", "disposition"]
        writer = csv.DictWriter(table, names)
        writer.writeheader()
        writer.writerows(self.day(query["start"][0]))
        handler.answer(200, table.getvalue().encode())


@pytest.fixture(scope="module")
def pbx(world: World) -> Iterator[Pbx]:
    """The PBX, a source that pulls from it, and tokens."""
    with Pbx() as pbx:
        pull = {
            "url": f"{pbx.url}/pbx/proxyapi.php",
            "token": "fake-key",
            "tenant": "ACME",
            "reconcile": False,
        }
        world.stack.configure("sources/onecom/pulled", SOURCE | {"pull": pull})
        for right, token in TOKENS.items():
            world.stack.configure(f"api/test-{right}", {"tokens": [token], "rights": [right]})
        world.stack.refresh()
        yield pbx


def ask(world: World, method: str, target: str, right: str | None, body: dict | None = None) -> Reply:
    """Asks the API."""
    headers = {"Content-Type": "application/json"}
    if right:
        headers["Authorization"] = f"Bearer {TOKENS[right]}"
    data = json.dumps(body).encode() if body is not None else b""
    return world.stack.send(Request(method, target, headers, data))


def follow(world: World, started: Reply, until: str = "done") -> dict:
    """Follows a job until it is over."""
    assert started.status == 202, started.body

    def over() -> dict | None:
        job = ask(world, "GET", started.body["follow"], "read").body
        return job if job["state"] == until else None

    return wait_for(f"job {started.body['job']}", over, 120)


def test_nothing_is_pulled_without_the_right(world: World, pbx: Pbx) -> None:
    for method, target, right, status in [
        ("POST", "/api/onecom/sync/today?source=pulled", None, 401),
        ("POST", "/api/onecom/sync/today?source=pulled", "read", 403),
        ("POST", "/sync", "read", 403),
        ("GET", "/sync", "sync", 403),
        ("POST", "/sync/20260101T000000Z-00000000/cancel", "read", 403),
    ]:
        reply = ask(world, method, target, right, {} if method == "POST" else None)
        assert reply.status == status, (target, reply.body)
        assert reply.headers["content-type"] == "application/problem+json"
    assert not pbx.asked


def test_a_thousand_records_are_pulled_once(world: World, pbx: Pbx) -> None:
    started = ask(world, "POST", "/api/onecom/sync/today?source=pulled", "sync")
    job = follow(world, started)
    counts = {"pages": 1, "seen": RECORDS, "new": RECORDS, "duplicates": 0, "rejected": 0, "unfinished": 0}
    assert job["counts"] == counts
    assert len(pbx.asked) == 2, "one question was answered with 429"
    calls = [item for item in world.stack.items("call#onecom#pulled#pull-0-") if item["sk"] == "call"]
    assert len(calls) == RECORDS
    one = calls[0]["call"]
    assert (one["outcome"], one["talk"]) == ("answered", 20)

    def enriched() -> bool:
        return not any(call.get("owed") for call in world.stack.items("call#onecom#pulled#pull-0-"))

    wait_for("every call to be enriched", enriched, 240)

    again = follow(world, ask(world, "POST", "/api/onecom/sync/today?source=pulled", "sync"))
    assert again["job"] != job["job"]
    assert again["counts"] == counts | {"new": 0, "duplicates": RECORDS}


def test_a_week_and_a_range_are_pulled_day_by_day(world: World, pbx: Pbx) -> None:
    job = follow(world, ask(world, "POST", "/api/onecom/sync/last-week?source=pulled", "sync"))
    counts = job["counts"]
    assert (counts["pages"], counts["seen"], counts["new"]) == (8, RECORDS + 70, 70)
    day = (pbx.today - timedelta(days=3)).isoformat()
    body = {"startDate": day, "endDate": day}
    job = follow(world, ask(world, "POST", "/api/onecom/sync?source=pulled", "sync", body))
    assert (job["counts"]["pages"], job["counts"]["duplicates"]) == (1, 10)
    body = {"source": "onecom/pulled", "from": day, "to": day}
    assert follow(world, ask(world, "POST", "/sync", "sync", body))["counts"]["duplicates"] == 10
    assert job["job"] in [one["job"] for one in ask(world, "GET", "/sync", "read").body["jobs"]]


def test_a_running_job_is_not_started_twice_and_can_be_canceled(world: World, pbx: Pbx) -> None:
    pbx.gate.clear()
    try:
        first = ask(world, "POST", "/api/onecom/sync/last-week?source=pulled", "sync")
        second = ask(world, "POST", "/api/onecom/sync/last-week?source=pulled", "sync")
        assert (second.body["job"], second.body["started"]) == (first.body["job"], False)
        canceled = ask(world, "POST", f"{first.body['follow']}/cancel", "sync")
        assert (canceled.status, canceled.body["state"]) == (200, "canceled")
        asked = len(pbx.asked)
    finally:
        pbx.gate.set()
    job = follow(world, first, "canceled")
    assert job["counts"]["new"] == 0
    assert len(pbx.asked) <= asked + 1


def test_what_cannot_be_pulled_is_told(world: World, pbx: Pbx) -> None:
    day = pbx.today.isoformat()
    for body, status in [
        ({"source": "onecom/onecom", "from": day, "to": day}, 422),
        ({"source": "onecom/pulled", "from": day, "to": "yesterday"}, 400),
        ({"source": "onecom/pulled", "from": day}, 400),
        ({"source": "asterisk/asterisk", "from": day, "to": day}, 422),
    ]:
        assert ask(world, "POST", "/sync", "sync", body).status == status, body
    assert ask(world, "GET", "/sync/20260101T000000Z-00000000", "read").status == 404


def test_the_schedule_reconciles_what_is_set_up_for_it(world: World, pbx: Pbx) -> None:
    stack = world.stack
    pull = {"url": f"{pbx.url}/pbx/proxyapi.php", "token": "fake-key", "tenant": "ACME"}
    stack.configure("sources/onecom/reconciled", SOURCE | {"pull": pull})
    stack.refresh()
    function = stack.stack["functions"]["reconcile"]
    answer = stack.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    assert json.loads(answer["Payload"].read()) == {"started": 1}

    def over() -> dict | None:
        reply = ask(world, "GET", "/sync", "read")
        # A function that is being replaced, or that a busy machine starts too late, is answered for by the gateway.
        assert reply.status in (200, 500, 502, 503), reply.body
        jobs = reply.body["jobs"] if reply.status == 200 else []
        mine = [one for one in jobs if one["source"] == "onecom/reconciled"]
        return mine[0] if mine and mine[0]["state"] == "done" else None

    job = wait_for("the reconciliation", over, 120)
    assert job["kind"] == "reconcile"
    assert job["missing"] == job["counts"]["new"] > 0
    gaps = ask(world, "GET", "/sync", "read").body["gaps"]
    mine = [gap["missing"] for gap in gaps if gap["source"] == "onecom/reconciled"]
    assert sum(mine) == job["missing"]
    lines = [line for line in stack.records("pull") if "gap" in line]
    assert any(line["gap"] == job["missing"] and line["source"] == "reconciled" for line in lines)
