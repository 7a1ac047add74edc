"""Matching: contacts are created once, and calls are matched again on request."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_file import Request
from stack import wait_for
from test_operator import switchboard

SECRET = "fake-matching-secret"
# Kept for fiction, and of no sample.
NUMBER = "+61270100001"


def post(call_id: str, **more) -> Request:
    """An answered call of a minute, to the intake."""
    body = {
        "provider": "test", "externalCallId": call_id, "clientPhone": NUMBER, "direction": "inbound",
        "status": "answered", "durationSec": 60, "source": "matching",
    }  # fmt: skip
    headers = {"Content-Type": "application/json", "x-crm-intake-secret": SECRET}
    return Request("POST", "/api/crm/intake/calls", headers, json.dumps(body | more).encode())


@pytest.fixture(scope="module")
def source(world):
    """A source whose calls create contacts."""
    world.stack.configure("sources/intake/matching", {"secrets": [SECRET], "country": "AU", "own_numbers": ["02 7010 0009"]})
    world.stack.refresh()
    wait_for("the new source", lambda: world.stack.send(post("matching-first", clientPhone="anonymous")).status == 200, 20)


def contact_of(world, call_id: str, seconds: float = 60) -> dict:
    """The customer's side of a call that owes nothing more."""
    key = f"test/matching/{call_id}"
    return wait_for(key, lambda: world.stack.settled(key), seconds)["people"]["contact"]


def test_a_hundred_first_calls_of_one_number_at_once_create_one_contact(world, source):
    ids = [f"matching-{n}" for n in range(100)]
    with ThreadPoolExecutor(max_workers=20) as pool:
        answers = list(pool.map(lambda call_id: world.stack.send(post(call_id)), ids))
    assert [answer.status for answer in answers] == [200] * 100
    contacts = [contact_of(world, call_id, 240) for call_id in ids]
    assert len({contact["entry"] for contact in contacts}) == 1
    assert sorted(contact["matched_by"] for contact in contacts) == ["created"] + ["number"] * 99

    # The payload contains the contact.
    received = world.delivered("/warehouse", "test/matching/matching-0")[0]
    side = json.loads(received.body)["data"]["contact"]
    assert (side["id"], side["e164"]) == (contacts[0]["entry"], NUMBER)

    # National form, the same contact.
    assert world.stack.send(post("matching-national", clientPhone="02 7010 0001")).status == 200
    assert contact_of(world, "matching-national")["entry"] == contacts[0]["entry"]


def test_own_numbers_and_withheld_ones_create_nobody(world, source):
    for call_id, number, why in [("matching-own", "+61270100009", "own_number"), ("matching-withheld", "anonymous", "anonymous")]:
        assert world.stack.send(post(call_id, clientPhone=number)).status == 200
        contact = contact_of(world, call_id)
        assert (contact["unmatched"], contact.get("entry")) == (why, None)


def test_a_call_is_matched_anew_on_request(world, source):
    assert world.stack.send(post("matching-anew", clientPhone="+61270100002")).status == 200
    contact_of(world, "matching-anew")
    again = switchboard(world, "rematch", "test/matching/matching-anew", "--dry-run")
    assert again.returncode == 0, again.stderr
    assert "1 read: 0 matched again, 1 unchanged. Nothing was written" in again.stdout
    assert "270100002" not in again.stdout + again.stderr


def test_rules_that_cannot_be_meant_are_refused(world):
    refused = switchboard(world, "put", "leads/rules", text='{"statuses": ["new"], "rules": [{"when": {}, "to": "new"}]}')
    assert refused.returncode == 1 and "rules[0].when: is empty" in refused.stderr
