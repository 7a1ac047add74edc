"""ElevenLabs' webhook beside Twilio's callbacks, on the deployed stack."""

from __future__ import annotations

import json
import time

import pytest
from http_file import Request
from sign import ELEVENLABS_HEADER, sign
from stack import wait_for
from test_twilio import callback, ended


def webhook(sid: str, summary: str, at: int | None = None, secret: str | None = None) -> Request:
    """A conversation on a Twilio call, signed as ElevenLabs does."""
    data = {
        "agent_id": "agent_sample", "conversation_id": f"conv-{sid}", "status": "done",
        "transcript": [{"role": "agent", "message": "Hello."}],
        "metadata": {
            "start_time_unix_secs": 1771577974, "call_duration_secs": 12,
            "phone_call": {"type": "twilio", "direction": "outbound", "call_sid": sid},
        },
        "analysis": {"transcript_summary": summary, "call_successful": "success"},
    }  # fmt: skip
    body = {"type": "post_call_transcription", "event_timestamp": int(time.time()), "data": data}
    headers = {"Content-Type": "application/json"}
    request = Request("POST", "/webhooks/elevenlabs", headers, json.dumps(body).encode())
    sign("elevenlabs", request, int(time.time()) if at is None else at, secret)
    return request


def test_the_webhook_before_the_callback(world):
    sid = world.unique("CA-webhook-first")
    answer = world.stack.send(webhook(sid, "A first summary."))
    assert (answer.status, answer.body["accepted"]) == (200, 1)
    assert world.stack.send(callback(ended(sid))).status == 200
    key = f"twilio/twilio/{sid}"
    wait_for(key, lambda: world.stack.settled(key))
    (got,) = world.delivered("/crm", key)
    assert (got.json()["summary"], got.json()["duration"]) == ("A first summary.", 12)
    assert [one.json()["type"] for one in world.delivered("/warehouse", key)] == ["call.completed"]


def test_the_webhook_after_the_delivery(world):
    sid = world.unique("CA-webhook-last")
    key = f"twilio/twilio/{sid}"
    assert world.stack.send(callback(ended(sid))).status == 200
    wait_for(key, lambda: world.stack.settled(key))
    late = webhook(sid, "A late summary.")
    assert [world.stack.send(late).status for _ in range(2)] == [200, 200]
    wait_for("the update", lambda: len(world.delivered("/warehouse", key)) == 2)
    wait_for(key, lambda: world.stack.settled(key))
    events = [(one.json()["type"], one.json()["data"].get("summary")) for one in world.delivered("/warehouse", key)]
    assert events == [("call.completed", None), ("call.updated", "A late summary.")]
    assert len(world.delivered("/crm", key)) == 1


@pytest.mark.parametrize("fault", ["stale", "from the future", "another secret", "no signature", "altered"])
def test_what_elevenlabs_did_not_sign_now_is_refused(world, fault):
    sid = world.unique("CA-forged")
    now = int(time.time())
    request = webhook(sid, "Forged.", at={"stale": now - 1900, "from the future": now + 1900}.get(fault, now),
                      secret="wsec_fake-other-secret" if fault == "another secret" else None)  # fmt: skip
    if fault == "no signature":
        del request.headers[ELEVENLABS_HEADER]
    if fault == "altered":
        request.body = request.body.replace(b"Forged", b"Altered")
    assert world.stack.send(request).status == (401 if fault == "no signature" else 403)
    assert world.stack.call(f"twilio/twilio/{sid}") is None


def test_an_old_secret_works_beside_the_new_one(world):
    sid = world.unique("CA-rotated")
    assert world.stack.send(webhook(sid, "Old.", secret="wsec_fake-elevenlabs-secret-old")).status == 200
