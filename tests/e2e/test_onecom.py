"""OneCom's batches: one bad record harms none of its neighbours, and a batch may come again."""

from __future__ import annotations

import json

from http_file import Request
from sign import source
from stack import correlation_id, wait_for

HEADERS = {"Content-Type": "application/json", "X-Webhook-Secret": source("onecom")["secrets"][0]}


def record(unique: str) -> dict:
    """A record of a call that was answered."""
    return {
        "uniqueid": unique, "start": "2024-01-15 10:30:00", "src": "101", "dst": "0501234567", "duration": 120,
        "billsec": 100, "disposition": "ANSWERED",
    }  # fmt: skip


def test_a_batch_of_a_hundred_with_the_37th_broken(world):
    batch = [record(f"batch.{n}") for n in range(1, 101)]
    batch[36] |= {"uniqueid": None, "duration": "abc"}
    request = Request("POST", "/api/onecom/webhook", HEADERS, json.dumps(batch).encode())
    kept_before = len(world.stack.items("quarantine#onecom"))

    first = world.stack.send(request)
    assert first.status == 202
    assert (first.body["accepted"], first.body["duplicates"]) == (99, 0)
    assert [one["index"] for one in first.body["rejected"]] == [36]
    stored = [world.stack.call(f"onecom/onecom/batch.{n}") for n in range(1, 101)]
    assert [n for n, call in enumerate(stored, 1) if call is None] == [37]
    kept = world.stack.items("quarantine#onecom")
    assert len(kept) == kept_before + 1

    again = world.stack.send(request)
    assert again.status == 202
    assert (again.body["accepted"], again.body["duplicates"]) == (0, 99)
    assert [one["index"] for one in again.body["rejected"]] == [36]


def test_a_batch_of_a_thousand_within_the_function_s_time_and_one_more_refused(world):
    batch = [record(f"thousand.{n}") for n in range(1, 1001)]
    sent = Request("POST", "/api/onecom/webhook", HEADERS, json.dumps(batch).encode())
    answer = world.stack.send(sent)
    assert (answer.status, answer.body) == (202, {"accepted": 1000, "duplicates": 0})
    assert world.stack.call("onecom/onecom/thousand.1000")
    # Each has follow-ups of its own, and none of them is lost or doubled.
    ids = {correlation_id(f"onecom/onecom/thousand.{n}") for n in range(1, 1001)}

    def received() -> list[str]:
        everything = (one.headers["x-correlation-id"] for one in world.crm.received("/warehouse"))
        return sorted(one for one in everything if one in ids)

    wait_for("a thousand calls at the CRM", lambda: len(received()) >= 1000, seconds=180)
    assert received() == sorted(ids)

    sent.body = json.dumps([*batch, record("thousand.1001")]).encode()
    refused = world.stack.send(sent)
    assert refused.status == 400 and "1000" in refused.body["error"].replace(",", "")
    assert world.stack.call("onecom/onecom/thousand.1001") is None


def test_two_tenants_with_equal_ids_are_two_calls(world):
    for name in ("north", "south"):
        world.stack.configure(f"sources/onecom/{name}", {"secrets": [f"fake-onecom-{name}"]})
    world.stack.refresh()
    sent = Request("POST", "/api/onecom/webhook", dict(HEADERS), json.dumps(record("equal.1")).encode())
    for name in ("north", "south"):
        sent.headers["X-Webhook-Secret"] = f"fake-onecom-{name}"
        assert world.stack.send(sent).status == 202
        assert world.stack.call(f"onecom/{name}/equal.1")
        sent.target = "/api/onecom/webhook?source=" + {"north": "south", "south": "north"}[name]
        assert world.stack.send(sent).status == 403
        sent.target = "/api/onecom/webhook"
