"""The set-ups that people have, as they have them: their paths, headers and bodies; only the host is ours."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from http_file import EVENTS, Request
from sign import source
from stack import wait_for
from test_elevenlabs import webhook
from test_twilio import callback, status

JSON = {"Content-Type": "application/json"}
INTAKE = JSON | {"x-crm-intake-secret": source("intake")["secrets"][0]}


def post(path: str, body: dict | list | bytes, headers: dict[str, str] = JSON) -> Request:
    """A POST of JSON, or of bytes as they are."""
    return Request("POST", path, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def get(path: str) -> Request:
    """A GET without headers."""
    return Request("GET", path, {}, b"")


def payload(world, key: str) -> dict:
    """The payload of a call at the CRM of the format conversation-ai."""
    wait_for(key, lambda: world.stack.settled(key))
    (got,) = world.delivered("/crm", key)
    return got.json()


def test_what_sends_no_secret_is_refused_where_no_network_is_trusted(world):
    for path in ("/api/onecom/webhook", "/api/v1/smartflo/webhook", "/webhook/3cx/test"):
        body = {"uniqueid": "unknown.1", "uuid": "unknown-1", "call_status": "answered"}
        assert world.stack.send(post(path, body)).status == 401
        wrong = JSON | {"X-Webhook-Secret": "fake-wrong-secret"}
        assert world.stack.send(post(path, body, wrong)).status == 403


@pytest.fixture(scope="module")
def open_to_their_network(world):
    """Two of the systems send no secret: their sources trust the network that they are in."""
    names = {name: source(name) for name in ("onecom", "smartflo", "threecx")}
    for name, value in names.items():
        world.stack.configure(f"sources/{name}/{name}", value | {"trusted_networks": ["127.0.0.0/8"]})
    world.stack.refresh()
    yield
    for name, value in names.items():
        world.stack.configure(f"sources/{name}/{name}", value)
    world.stack.refresh()


# --- Asterisk and FMC in the contract of the intake ---------------------------------------------------------


def test_the_intakes_contract(world):
    """Minimal; recommended; as FMC fills its template in."""
    minimal = {"provider": "asterisk", "externalCallId": "setup-ast-1", "clientPhone": "+79991234567"}
    recommended = minimal | {
        "externalCallId": "setup-ast-2", "eventType": "call_finished", "clientName": "Иван Петров",
        "employeePhone": "+79990001122", "startedAt": "2026-02-20T09:00:00.000Z",
        "endedAt": "2026-02-20T09:06:00.000Z", "durationSec": 360,
        "recordingUrl": "https://pbx.example/records/setup-ast-2.mp3",
        "transcriptRaw": "Полный текст расшифровки разговора...",
        "scriptContext": "Скрипт реактивации спящих клиентов", "source": "asterisk-main",
        "autoAnalyze": True, "createTasks": True,
    }  # fmt: skip
    fmc = {
        "provider": "fmc", "externalCallId": "setup-fmc-1", "eventType": "call_finished",
        "clientPhone": "+79991234567", "employeePhone": "+79990001122",
        "startedAt": "2026-02-20T09:00:00Z", "endedAt": "2026-02-20T09:06:00Z", "durationSec": 360,
        "recordingUrl": "https://pbx.example/records/setup-fmc-1.mp3", "transcriptRaw": "…", "source": "fmc",
        "autoAnalyze": True, "createTasks": True,
    }  # fmt: skip
    path = "/api/crm/intake/calls"
    # The one that names its source has a secret of its own.
    named = json.loads((EVENTS / "intake" / "source.asterisk-main.json").read_text())["secrets"][0]
    for body, key, seconds, name in [
        (minimal, "asterisk/asterisk/setup-ast-1", 0, ""),
        (recommended, "asterisk/asterisk-main/setup-ast-2", 360, "Иван Петров"),
        (fmc, "fmc/fmc/setup-fmc-1", 360, ""),
    ]:
        headers = INTAKE | ({"x-crm-intake-secret": named} if body.get("source") == "asterisk-main" else {})
        assert world.stack.send(post(path, body, headers)).status == 200
        got = payload(world, key)
        assert (got["to"], got["duration"], got["name"]) == ("+79991234567", seconds, name)


def test_the_dialplan_whose_strftime_reads_1970(world):
    """As Asterisk fills the template in: a start of 1970, a path for a recording."""
    body = {
        "provider": "asterisk", "externalCallId": "1708416000.77", "eventType": "call_finished",
        "clientPhone": "+79991234567", "employeePhone": "101", "startedAt": "1970-01-01T00:33:46.000Z",
        "endedAt": "2026-02-20T09:06:00.000Z", "durationSec": 360,
        "recordingUrl": "/var/spool/asterisk/monitor/x.wav", "source": "asterisk",
    }  # fmt: skip
    assert world.stack.send(post("/api/crm/intake/calls", body, INTAKE)).status == 200
    key = "asterisk/asterisk/1708416000.77"
    assert payload(world, key)["duration"] == 360
    call = world.stack.call(key)["call"]
    assert {"start_discarded", "start_estimated"} <= set(call["flags"])
    assert call["started_at"] == "2026-02-20T09:00:00Z"
    (full,) = world.delivered("/warehouse", key)
    assert b"spool" not in full.body


# --- Twilio and ElevenLabs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "seconds", "word"),
    [
        ("completed", "60", "held"),
        ("completed", "0", "no answer"),
        ("no-answer", "0", "no answer"),
        ("busy", "0", "no answer"),
        ("failed", "0", "no connection"),
        ("canceled", "0", "no connection"),
    ],
)
def test_twilios_ends_in_the_words_of_the_crm(world, state, seconds, word):
    sid = world.unique(f"CA-setup-{state}")
    to, caller = "+61413052898", "+61255501234"
    parameters = status(sid, state, CallDuration=seconds, SequenceNumber="3") | {"To": to, "From": caller}
    if state == "completed":
        assert world.stack.send(webhook(sid, "The customer expressed interest in the product.")).status == 200
    assert world.stack.send(callback(parameters)).status == 200
    got = payload(world, f"twilio/twilio/{sid}")
    summary = "The customer expressed interest in the product." if state == "completed" else ""
    assert got == {
        "type": "conversationAICall", "subject": "Outbound Call", "to": to, "name": "", "summary": summary,
        "status": word, "duration": int(seconds),
    }  # fmt: skip


# --- 3CX -------------------------------------------------------------------------------------------------

THREECX_START = {
    "caller": "+41225551234", "callee": "+41225555678", "agentExt": "201", "agentMail": "agent@company.com",
    "direction": "Inbound", "startTime": "2025-07-16T14:30:00Z",
}  # fmt: skip
THREECX_END = {
    "callId": "12345", "caller": "+41225551234", "callee": "+41225555678", "agentExt": "201",
    "agentMail": "agent@company.com", "direction": "Inbound", "duration": "00:04:32",
    "wav": "https://pbx.company.com/recordings/12345.wav", "endUtc": "2025-07-16T14:34:32Z",
}  # fmt: skip


def stored(world, path: str, *requests: Request, status: int = 200) -> list[str]:
    """Sends requests; gives the keys of the calls that were not there before."""
    before = {item["key"] for item in world.stack.items(path)}
    for request in requests:
        answer = world.stack.send(request)
        assert answer.status == status, answer
    return sorted({item["key"] for item in world.stack.items(path) if item["sk"] == "call"} - before)


def test_3cx_at_the_start_and_at_the_end_of_a_call(world):
    headers = JSON | {"X-Webhook-Secret": source("threecx")["secrets"][0]}
    # Another agent than in the samples, so that it is another call.
    agent = {"agentExt": "207"}
    start = post("/webhook/3cx/call-event", THREECX_START | agent, headers)
    end = post("/webhook/3cx/call-event", THREECX_END | agent, headers)
    (key,) = stored(world, "call#threecx", start, end, end)
    got = payload(world, key)
    assert (got["to"], got["status"], got["duration"]) == ("+41225551234", "held", 272)
    call = world.stack.call(key)["call"]
    assert (call["started_at"], call["ended_at"]) == ("2025-07-16T14:30:00Z", "2025-07-16T14:34:32Z")
    assert len(world.stack.call(key)["updates"]) == 2


def test_3cxs_template_with_its_variables_filled_in_and_some_left(world):
    body = THREECX_END | {
        "callId": "", "agentExt": "208", "agentMail": "[AgentEmail]", "wav": "[RecordingURL]",
        "startTime": "2025-07-16T14:30:00Z",
    }  # fmt: skip
    headers = JSON | {"x-api-key": source("threecx")["secrets"][0]}
    (key,) = stored(world, "call#threecx", post("/webhook/3cx/call-event", body, headers))
    assert payload(world, key)["duration"] == 272
    assert "recordings" not in world.stack.call(key)["call"]


def test_3cxs_test_and_health(world, open_to_their_network):
    health = world.stack.send(get("/webhook/3cx/health"))
    assert (health.status, health.body) == (200, {"status": "ok"})
    before = len(world.stack.items("call#threecx"))
    answer = world.stack.send(post("/webhook/3cx/test", {"test": True}))
    assert answer.status == 200 and answer.body["test"] is True
    assert len(world.stack.items("call#threecx")) == before


# --- OneCom ----------------------------------------------------------------------------------------------

ONECOM = {
    "uniqueid": "1234567890.900", "call_id": "1234567890", "start": "2024-01-15 10:30:00", "src": "101",
    "realsrc": "101", "dst": "0501234567", "lastdst": "0501234567", "clid": '"Name" <0501234567>',
    "duration": 120, "disposition": "ANSWERED", "dcontext": "from-outside",
}  # fmt: skip


def test_onecom_posts_one_record(world, open_to_their_network):
    answer = world.stack.send(post("/api/onecom/webhook", ONECOM))
    assert (answer.status, answer.body["accepted"]) == (202, 1)
    key = "onecom/onecom/1234567890.900"
    got = payload(world, key)
    assert (got["to"], got["status"], got["duration"]) == ("+972501234567", "held", 120)
    assert world.stack.call(key)["call"]["started_at"] == "2024-01-15T08:30:00Z"


def test_onecom_posts_a_batch(world, open_to_their_network):
    batch = [ONECOM | {"uniqueid": "1234567890.901"}, ONECOM | {"uniqueid": "1234567891.902"}]
    answer = world.stack.send(post("/api/onecom/webhook", batch))
    assert (answer.status, answer.body) == (202, {"accepted": 2, "duplicates": 0})
    for unique in ("1234567890.901", "1234567891.902"):
        assert payload(world, f"onecom/onecom/{unique}")["status"] == "held"


def test_onecom_tested_by_hand(world, open_to_their_network):
    wanted = ("call_id", "start", "src", "dst", "duration", "disposition")
    body = {"uniqueid": "1234567890.903"} | {name: ONECOM[name] for name in wanted}
    assert world.stack.send(post("/api/onecom/webhook", body)).status == 202
    assert payload(world, "onecom/onecom/1234567890.903")["to"] == "+972501234567"
    information = world.stack.send(get("/api/onecom/webhook"))
    assert information.status == 200 and "fake" not in json.dumps(information.body)


# --- Smartflo --------------------------------------------------------------------------------------------

SMARTFLO = {
    "uuid": "69d75426f0900", "call_to_number": "9876543210", "caller_id_number": "917969690935",
    "start_stamp": "2026-04-09 12:54:21", "answer_stamp": "2026-04-09 12:54:30",
    "end_stamp": "2026-04-09 12:54:41", "hangup_cause": "NORMAL_CLEARING", "billsec": "11", "digits_dialed": "",
    "direction": "clicktocall", "duration": "20",
    "answered_agent": {"id": "1", "name": "Asha", "number": "0607297260058", "agent_number": "1001"},
    "answered_agent_name": "Asha", "answered_agent_number": "1001", "missed_agent": "",
    "call_flow": [{"type": "init", "time": "1775719461"}, {"time": 1775719461.3}], "broadcast_lead_fields": "",
    "recording_url": "https://recordings.example/?token=fake", "call_status": "answered",
    "call_id": "1775719461.306731", "outbound_sec": "7", "agent_ring_time": "4",
    "agent_transfer_ring_time": "$agent_transfer_ring_time", "billing_circle": {"operator": "X", "circle": "Y"},
    "call_connected": "1", "aws_call_recording_identifier": "", "customer_no_with_prefix": "+919876543210",
    "campaign_name": "$campaign_name", "campaign_id": "$campaign_id", "customer_ring_time": "5",
    "reason_key": "Call Disconnected By Caller", "ref_id": "lead-123",
}  # fmt: skip


def test_smartflo_posts_the_body_that_was_pasted(world, open_to_their_network):
    path = "/api/v1/smartflo/webhook"
    for sent in (post(path, SMARTFLO), Request("POST", path, {"Content-Type": "application/x-www-form-urlencoded"},
                 urlencode({k: v if isinstance(v, str) else json.dumps(v) for k, v in SMARTFLO.items()}).encode())):  # fmt: skip
        assert world.stack.send(sent).status == 200
    key = "smartflo/smartflo/69d75426f0900"
    got = payload(world, key)
    assert (got["to"], got["status"], got["duration"]) == ("+919876543210", "held", 7)
    call = world.stack.call(key)["call"]
    assert call["started_at"] == "2026-04-09T07:24:21Z"
    assert call["extra"]["ref_id"] == "lead-123" and "campaign" not in call


def test_smartflo_simulated_by_hand(world, open_to_their_network):
    body = {
        "call_id": "test_call_123", "call_status": "answered", "direction": "outbound", "duration": "45",
        "ref_id": "REPLACE_WITH_REAL_LEAD_ID", "agent_number": "123456", "customer_number": "9876543210",
    }  # fmt: skip
    assert world.stack.send(post("/api/v1/smartflo/webhook", body)).status == 200
    got = payload(world, "smartflo/smartflo/test_call_123")
    assert (got["to"], got["status"]) == ("+919876543210", "held")
