"""Every sample through the deployed stack, up to the payload at the CRM."""

from __future__ import annotations

import json

import pytest
from http_file import samples
from sign import fresh
from stack import SIGNING_SECRET, correlation_id, rejections, wait_for
from standardwebhooks import Webhook

# What the conversation-AI CRM gets of each sample: to, name, summary, status, duration, subject.
EXPECTED = {
    "twilio/completed": (
        "+61491570156", "Kim Example",
        "The customer asked about pricing and availability. A follow-up meeting was agreed for next week.",
        "held", 125, "Autumn offer",
    ),
    "twilio/completed-without-conversation": ("+61491570156", "", "", "held", 49, "Outbound Call"),
    "twilio/no-answer": ("+61491570156", "", "", "no answer", 0, "Outbound Call"),
    "twilio/busy": ("+61491570156", "", "", "no answer", 0, "Outbound Call"),
    "twilio/failed": ("+61491570156", "", "", "no connection", 0, "Outbound Call"),
    "twilio/canceled": ("+61491570156", "", "", "no connection", 0, "Outbound Call"),
    "twilio/voicemail-before-completed": ("+61491570156", "", "", "voicemail", 34, "Outbound Call"),
    "twilio/voicemail-after-completed": ("+61491570156", "", "", "voicemail", 12, "Outbound Call"),
    "twilio/recorded": ("+61491570156", "", "", "held", 61, "Outbound Call"),
    "twilio/dialled-leg": ("+61491570157", "PAT EXAMPLE", "", "held", 150, "Inbound Call"),
    "twilio/many-parameters": ("+551135892112", "", "", "held", 49, "Outbound Call"),
    "twilio/with-context": (
        "+61491570156", "Alex Example", "The customer renewed for a year.", "held", 90, "Spring renewals",
    ),
    "asterisk/dialplan-answered": ("+61491570156", "Kim Example", "", "held", 83, "Inbound Call"),
    "asterisk/json-outbound": ("+61491570156", "", "", "held", 272, "Outbound Call"),
    "asterisk/legs-of-one-call": ("+61491570156", "Kim Example", "", "held", 100, "Inbound Call"),
    "elevenlabs/widget": ("", "", "A visitor asked about opening hours.", "held", 88, "Outbound Call"),
    "elevenlabs/sip-trunk": ("+61491570156", "", "The caller left their address.", "held", 88, "Inbound Call"),
    "elevenlabs/could-not-be-called": ("+61491570156", "", "", "no answer", 0, "Outbound Call"),
    "elevenlabs/could-not-be-called-over-sip": ("+61491570156", "", "", "no answer", 0, "Outbound Call"),
    "fmc/generic": ("+79991234567", "", "", "held", 360, "Outbound Call"),
    "fmc/megafon-history-in": ("+79991234567", "", "", "held", 360, "Inbound Call"),
    "fmc/megafon-history-missed": ("+79991112233", "", "", "no answer", 0, "Inbound Call"),
    "fmc/beeline-answered": ("+79991234567", "Иван Петров", "", "held", 360, "Inbound Call"),
    "fmc/beeline-outbound-busy": ("+79991234567", "", "", "no answer", 0, "Outbound Call"),
    "onecom/single": ("+972501234567", "Name", "", "held", 120, "Outbound Call"),
    "onecom/mirta-record": ("+972501234567", "דנה כהן", "", "held", 272, "Inbound Call"),
    "onecom/two-legs": ("+972501234567", "", "", "held", 100, "Inbound Call"),
    "smartflo/hangup-answered": ("+919876543210", "", "", "held", 7, "Outbound Call"),
    "smartflo/simulation": ("+919876543210", "", "", "held", 45, "Outbound Call"),
    "smartflo/missed-by-customer": ("+919876543210", "", "", "no answer", 0, "Outbound Call"),
    "smartflo/get": ("+919876543210", "", "", "held", 60, "Inbound Call"),
    "intake/minimal": ("+79991234567", "", "", "no answer", 0, "Outbound Call"),
    "intake/recommended": ("+79991234567", "Иван Петров", "", "held", 360, "Outbound Call"),
    "intake/batch-of-one": ("+79991112233", "", "", "held", 61, "Outbound Call"),
    "intake/lifecycle": ("+79991112233", "", "", "no answer", 0, "Inbound Call"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sent(world):
    """Sends every sample at once, so that the tests only wait for the last of them."""
    answers = {}
    for path in samples():
        name = f"{path.parent.name}/{path.stem}"
        answers[name] = [world.stack.send(request) for request in fresh(path)]
    return answers


@pytest.mark.parametrize("path", samples(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_sample(world, sent, path):
    name = f"{path.parent.name}/{path.stem}"
    expected = json.loads(path.with_suffix(".call.json").read_text())
    wanted = expected.get("rejected", [])
    assert rejections(sent[name]) == [reject["error"] for reject in wanted]
    for answer in sent[name]:
        # A body of which nothing was any good has the status of its first record.
        assert answer.status in (200, 202) or answer.status == wanted[0]["status"]

    for key, call in expected["calls"].items():
        stored = wait_for(key, lambda key=key: world.stack.settled(key))
        assert stored["call"].get("outcome") == call.get("outcome")
        assert stored["call"].get("talk") == call.get("talk")
        got = world.delivered("/crm", key)
        if "parent" in call or call.get("state") != "ended":
            assert got == [] and world.stack.deliveries(key) == {}
            continue
        assert len(got) == 1
        Webhook(SIGNING_SECRET).verify(got[0].body, got[0].headers)
        if name in EXPECTED:
            to, contact, summary, status, duration, subject = EXPECTED[name]
            assert got[0].json() == {
                "type": "conversationAICall", "subject": subject, "to": to, "name": contact,
                "summary": summary, "status": status, "duration": duration,
            }  # fmt: skip


def test_the_webhook_and_the_crm_share_one_correlation_id(world, sent):
    key = "asterisk/asterisk/ast-20260220-000123"
    wait_for(key, lambda: world.stack.settled(key))
    answered = sent["intake/minimal"][0].headers["x-correlation-id"]
    assert answered == correlation_id(key)
    assert world.delivered("/crm", key) and world.delivered("/warehouse", key)

    def said(function: str) -> list[str]:
        return [line for line in world.stack.logs(function) if answered in line]

    for function in ("intake", "enrich", "deliver"):
        wait_for(f"a line of {function}", lambda function=function: said(function))


def test_what_cannot_be_read_is_in_quarantine(world, sent):
    kept = world.stack.items("quarantine#intake")
    assert any(item["problem"].startswith("durationSec:") for item in kept)


def test_nothing_personal_is_in_any_log(world, sent):
    """Every number, name, summary, transcript, recording and secret of the samples."""
    for path in samples():
        for key in json.loads(path.with_suffix(".call.json").read_text())["calls"]:
            wait_for(key, lambda key=key: world.stack.settled(key))
    personal = [
        "491570156", "491570157", "255501234", "9991234567", "9991112233", "9990001122", "1135892112",
        "6466063895", "Example", "EXAMPLE", "Иван", "pricing", "renewed", "sample agent", "расшифровки",
        "Скрипт", "501234567", "דנה", "25551234", "876543210", "969690935", "company.com", "token=", "appointment", "opening hours", "call_back", "yearly", "/Recordings/", "pbx.example", "monitor/x.wav", "fake-", "whsec_", "wsec_", "Paulo",
    ]  # fmt: skip
    said = 0
    for function in world.stack.stack["functions"]:
        for line in world.stack.logs(function):
            said += 1
            assert not [word for word in personal if word in line], function
    assert said > 50
