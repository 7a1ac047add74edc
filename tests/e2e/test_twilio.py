"""Twilio as the other side: its own package signs and validates what we answer."""

from __future__ import annotations

import itertools
import json
import random
import threading
from urllib.parse import quote, urlencode

import pytest
from http_file import Request
from stack import wait_for
from twilio.request_validator import RequestValidator

TOKEN = "fake-twilio-auth-token-new"
ACCOUNT = "AC00000000000000000000000000000001"
BASE = "https://calls.example.com"
FORM = "application/x-www-form-urlencoded"


def callback(parameters, query="", path="/call-status-callback", token=TOKEN, base=BASE, body=None) -> Request:
    """A callback as Twilio sends it: a form, signed for the public URL."""
    target = path + (f"?{query}" if query else "")
    signature = RequestValidator(token).compute_signature(base + target, dict(parameters))
    headers = {"Content-Type": FORM, "X-Twilio-Signature": signature}
    return Request("POST", target, headers, (body or urlencode(parameters)).encode())


def status(call_id: str, state: str, **more: str) -> dict[str, str]:
    """The parameters of a status callback."""
    return {
        "CallSid": call_id, "AccountSid": ACCOUNT, "From": "+61255501234", "To": "+61491570156",
        "Direction": "outbound-api", "ApiVersion": "2010-04-01", "CallStatus": state, **more,
    }  # fmt: skip


def ended(call_id: str, seconds: str = "12", **more: str) -> dict[str, str]:
    """The parameters of the last status callback of an answered call."""
    return status(call_id, "completed", CallDuration=seconds, SequenceNumber="3",
                  Timestamp="Fri, 20 Feb 2026 09:02:14 +0000", **more)  # fmt: skip


def test_what_twilios_package_signs_is_accepted_and_what_it_rejects_is_refused(world):
    """Random parameters, then one thing changed: the package and the API agree on each."""
    chance = random.Random(7)
    texts = ["", " ", "+61 491", "São Paulo", "a+b", "a&b=c", "100%", "é中文", "'quoted'", "~-._", "A" * 300]
    validator = RequestValidator(TOKEN)
    verdicts = []
    for n in range(40):
        parameters = ended(world.unique("CA-signed"))
        parameters |= {f"P{chance.randrange(99)}": chance.choice(texts) for _ in range(chance.randrange(6))}
        query = chance.choice(["", "foo=1&bar=2", "source=twilio", "campaign=Spring+renewals&x=%2B1"])
        target = "/call-status-callback" + (f"?{query}" if query else "")
        signature = validator.compute_signature(BASE + target, parameters)
        sent = dict(parameters)
        match n % 8:
            case 1:
                sent["CallDuration"] = "13"
            case 2:
                sent["Added"] = ""
            case 3:
                del sent["To"]
            case 4:
                target += "&more=1" if query else "?more=1"
            case 5:
                signature = signature[:-2] + "=="
            case 6:
                signature = RequestValidator("another-token").compute_signature(BASE + target, parameters)
        encode = chance.choice([urlencode, lambda p: urlencode(p, quote_via=quote)])
        headers = {"Content-Type": FORM, "X-Twilio-Signature": signature}
        answer = world.stack.send(Request("POST", target, headers, encode(sent).encode()))
        accepted = validator.validate(BASE + target, sent, signature)
        verdicts.append(accepted)
        assert answer.status == (200 if accepted else 403), (n, answer)
    assert True in verdicts and False in verdicts


def test_repeated_parameters_are_signed_by_their_distinct_values(world):
    call = world.unique("CA-repeated")
    pairs = list(ended(call).items()) + [("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")]

    class Multi(dict):
        """What web frameworks hand to the package for a form with repeated names."""

        def getall(self, name):
            return [value for key, value in pairs if key == name]

    signature = RequestValidator(TOKEN).compute_signature(f"{BASE}/call-status-callback", Multi(pairs))
    headers = {"Content-Type": FORM, "X-Twilio-Signature": signature}
    answer = world.stack.send(Request("POST", "/call-status-callback", headers, urlencode(pairs).encode()))
    assert answer.status == 200


def test_a_json_body_is_signed_through_its_hash(world):
    validator = RequestValidator(TOKEN)
    body = json.dumps(ended(world.unique("CA-json")))
    for altered, expected in ((body, 200), (body.replace("12", "13"), 403)):
        target = f"/call-status-callback?bodySHA256={validator.compute_hash(body)}"
        signature = validator.compute_signature(BASE + target, {})
        headers = {"Content-Type": "application/json", "X-Twilio-Signature": signature}
        answer = world.stack.send(Request("POST", target, headers, altered.encode()))
        assert answer.status == expected
        assert validator.validate(BASE + target, altered, signature) == (expected == 200)


def test_a_custom_public_url_with_a_stage_prefix_is_what_is_signed(world):
    custom = {"secrets": ["fake-other-token"], "public_url": "https://hooks.example.net/prod", "country": "AU"}
    world.stack.configure("sources/twilio/custom", custom)
    call = world.unique("CA-custom")
    sent = {"query": "source=custom", "token": "fake-other-token", "base": "https://hooks.example.net/prod"}
    wait_for("the new source", lambda: world.stack.send(callback(ended(call), **sent)).status == 200, 20)
    assert world.stack.call(f"twilio/custom/{call}")
    # Neither the other source's token nor the gateway's own address opens it.
    assert world.stack.send(callback(ended(call), query="source=custom")).status == 403
    sent["base"] = world.stack.stack["outputs"]["BaseUrl"]
    assert world.stack.send(callback(ended(call), **sent)).status == 403


def test_several_tokens_and_accounts_and_their_rotation(world):
    source = {
        "secrets": ["fake-main", {"secret": "fake-sub", "account": "ACsub"}],
        "public_url": "https://accounts.example.com",
        "country": "AU",
    }
    world.stack.configure("sources/twilio/accounts", source)
    sent = {"query": "source=accounts", "base": "https://accounts.example.com"}
    call = world.unique("CA-accounts")
    wait_for("the source", lambda: world.stack.send(callback(ended(call), token="fake-main", **sent)).status == 200, 20)
    other = ended(world.unique("CA-accounts"))
    assert world.stack.send(callback(other, token="fake-sub", **sent)).status == 403
    assert world.stack.send(callback(other | {"AccountSid": "ACsub"}, token="fake-sub", **sent)).status == 200
    # Rotated: the new token works without a deployment, the old one no longer.
    world.stack.configure("sources/twilio/accounts", source | {"secrets": ["fake-rotated"]})
    third = ended(world.unique("CA-accounts"))
    wait_for("the new token", lambda: world.stack.send(callback(third, token="fake-rotated", **sent)).status == 200, 20)
    assert world.stack.send(callback(other, token="fake-main", **sent)).status == 403


@pytest.mark.parametrize("case", ["missing", "wrong", "no-secret", "unknown-source"])
def test_a_request_that_is_not_authenticated_leaves_no_trace_but_one_metric(world, case):
    if case == "no-secret":
        world.stack.configure("sources/twilio/mute", {"secrets": [], "public_url": BASE})
        world.stack.refresh()
    call = world.unique("CA-refused")
    query = {"no-secret": "source=mute", "unknown-source": "source=absent"}.get(case, "")
    token = "fake-wrong" if case in ("wrong", "unknown-source") else TOKEN
    request = callback(ended(call, Marker="+61491570110"), query=query, token=token)
    if case == "missing":
        del request.headers["X-Twilio-Signature"]
    said = len(world.stack.records("twilio"))
    answer = world.stack.send(request)
    assert answer.status == (401 if case == "missing" else 403)
    assert call not in json.dumps(answer.body)

    def new() -> list[dict]:
        return world.stack.records("twilio")[said:]

    wait_for("its metric", lambda: [line for line in new() if "rejected" in line])
    metrics = [line for line in new() if "_aws" in line]
    assert len(metrics) == 1 and (metrics[0]["received"], metrics[0]["rejected"]) == (1, 1)
    assert call not in json.dumps(new()) and "491570110" not in json.dumps(new())
    assert [item for item in world.stack.items("call#") if call in item["pk"]] == []
    assert world.stack.items("quarantine#twilio") == []


def test_the_same_webhook_fifty_times_at_once_is_one_call_and_one_delivery(world):
    call = world.unique("CA-fifty")
    request = callback(ended(call))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(world.stack.send(request))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 50
    assert sum(answer.body["accepted"] for answer in answers) == 1
    assert sum(answer.body["duplicates"] for answer in answers) == 49
    stored = wait_for("the call", lambda: world.stack.settled(f"twilio/twilio/{call}"), 90)
    assert len(stored["updates"]) == 1
    assert len(world.delivered("/crm", f"twilio/twilio/{call}")) == 1
    # A duplicate of a call that owes nothing stays one.
    again = world.stack.send(request)
    assert again.body == {"accepted": 0, "duplicates": 1}


def test_four_callbacks_in_all_orders_are_the_same_call_and_the_same_entry(world):
    """A source that gives a call ten seconds to settle, and each order a call of its own."""
    source = {"secrets": [TOKEN], "public_url": BASE, "country": "AU", "settle_seconds": 10}
    world.stack.configure("sources/twilio/orders", source)

    def four(call: str) -> list[Request]:
        def of(parameters, path="/call-status-callback"):
            return callback(parameters, "source=orders", path)

        amd = {"CallSid": call, "AccountSid": ACCOUNT, "AnsweredBy": "machine_end_beep", "MachineDetectionDuration": "4350"}
        recording = {
            "CallSid": call, "AccountSid": ACCOUNT, "RecordingSid": "RE1", "RecordingStatus": "completed",
            "RecordingUrl": "https://api.twilio.com/recordings/RE1", "RecordingDuration": "11",
        }  # fmt: skip
        initiated = status(call, "initiated", SequenceNumber="0", Timestamp="Fri, 20 Feb 2026 09:00:00 +0000")
        return [
            of(initiated), of(ended(call)), of(amd, "/amd-status-callback"), of(recording, "/recording-status-callback"),
        ]  # fmt: skip

    probe = world.unique("CA-orders")
    wait_for("the source", lambda: world.stack.send(four(probe)[0]).status == 200, 20)
    calls = {}
    for order in itertools.permutations(range(4)):
        call = calls[order] = world.unique("CA-order")
        requests = four(call)
        for n in order:
            assert world.stack.send(requests[n]).status == 200
    stored, received = [], []
    for call in calls.values():
        key = f"twilio/orders/{call}"
        stored.append(wait_for(key, lambda key=key: world.stack.settled(key), 120)["call"])
        assert len(world.delivered("/warehouse", key)) == 1
        received.append([one.body for one in world.delivered("/crm", key)])
    assert len(stored) == 24
    assert all(one == stored[0] for one in stored)
    assert len(received[0]) == 1 and all(one == received[0] for one in received)
    assert stored[0]["outcome"] == "voicemail"
