"""Cases of payloads: what messages say about calls, above all the tricky ones.

Each expectation names only what the case is about. It comes from what the provider's documents and
real messages say, not from what this implementation made of them.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlencode

from vectors_authentication import FORM, JSON, MANY, NOW, PATHS, elevenlabs_header, twilio_signature


def message(target, headers, body, method="POST") -> dict:
    """One request."""
    return {"method": method, "target": target, "headers": headers, "body": body}


def case(name, messages, calls=None, **more) -> dict:
    """One case. `more` is what else is expected: `rejected`, `other`."""
    expect = {} if calls is None else {"calls": calls}
    return {"name": name, "messages": messages, "expect": {**expect, **more}}


def sender(provider: str):
    """What makes a message of this provider: its secret along, a body of JSON unless it is text."""
    def send(body, query="", kind=JSON, path=PATHS[provider]) -> dict:
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        return message(path + query, {"Content-Type": kind, "X-Webhook-Secret": f"fake-{provider}-secret"}, text)
    return send


def file(provider: str, cases: list, about: str, **source) -> dict:
    """A file of one provider, whose secret is in the source unless another is."""
    source.setdefault("secrets", [f"fake-{provider}-secret"])
    return {"about": about, "provider": provider, "source": source, "cases": cases}


# --- Smartflo -----------------------------------------------------------------------------------------

def smartflo() -> dict:
    send = sender("smartflo")
    uuid = "69d75426f0a9f"
    key = f"smartflo/smartflo/{uuid}"
    customer = {"contact": {"raw": "+919876543210"}}

    def one(name, fields, call, **more):
        return case(name, [send({"uuid": uuid, **fields}, **more)], {key: call})

    no_talk = {"call_status": "missed", "direction": "clicktocall", "billsec": "30", "duration": "30",
               "outbound_sec": "0", "call_connected": "1", "answer_stamp": "2026-04-09 12:54:25",
               "recording_url": "https://recordings.example/1.mp3"}
    answered = {"uuid": uuid, "call_status": "answered", "direction": "inbound", "billsec": "6", "duration": "20",
                "start_stamp": "2026-04-09 12:54:21", "caller_id_number": "+919876543210"}
    same = {"outcome": "answered", "direction": "inbound", "talk": 6, "started_at": "2026-04-09T07:24:21Z", **customer}
    query = "?" + urlencode({**answered, "secret": "fake-smartflo-secret"})
    times = [{"time": "1775719461", "type": "init"}, {"time": 1775719461}, {"time": 1775719461.3, "type": "Agent"},
             {"id": "x"}]
    cases = [
        one("variables that were not filled in", {"billsec": "$billsec", "campaign_name": "$campaign_name", "call_status": "missed"},
            {"outcome": "no_answer", "state": "ended", "campaign": None, "billed": None}),
        one("a talk that was not filled in", {"direction": "inbound", "billsec": "$billsec", "duration": "", "call_status": "answered"},
            {"outcome": "answered", "talk": None, "total": None, "billed": None}),
        one("a key with a space behind it", {"customer_no_with_prefix ": "+919876543210", "call_status": "missed", "direction": "inbound"},
            customer),
        case("a key with a dollar before it", [send({"$call_id": "1775719461.306731", "$call_status": "missed"})],
             {"smartflo/smartflo/1775719461.306731": {"outcome": "no_answer"}}),
        case("an id that was not filled in", [send({"uuid": "$uuid", "call_id": "1775719461.306731", "call_status": "missed"})],
             {"smartflo/smartflo/1775719461.306731": {"outcome": "no_answer"}}),
        case("no id at all", [send({"uuid": "$uuid", "call_status": "missed"})], {}, rejected=[{"status": 400}]),
        one("click to call: the agent answered, the customer did not", no_talk,
            {"outcome": "no_answer", "talk": 0, "direction": "outbound"}),
        one("click to call: the customer talked for a part of it",
            {**no_talk, "call_status": "answered", "billsec": "11", "duration": "20", "outbound_sec": "7"},
            {"outcome": "answered", "talk": 7, "direction": "outbound"}),
        *[one(f"the direction {word}", {"direction": word, "call_status": "missed"}, {"direction": "outbound"})
          for word in ("clicktocall", "click_to_call", "outbound")],
        *[one(f"the start as {kind}", {"start_stamp": stamp, "call_status": "answered"}, {"started_at": "2026-04-09T07:24:21Z"})
          for kind, stamp in [("an Indian wall clock", "2026-04-09 12:54:21"), ("ISO 8601", "2026-04-09T12:54:21+05:30"),
                              ("an epoch", "1775719461"), ("an epoch in milliseconds", "1775719461000")]],
        one("times of all kinds in the call flow", {"call_status": "missed", "call_flow": times}, {"outcome": "no_answer"}),
        one("the call flow as text", {"call_status": "missed", "call_flow": json.dumps(times)}, {"outcome": "no_answer"}),
        case("the template as a form", [send(urlencode(answered), kind=FORM)], {key: same}),
        case("the template as JSON", [send(answered)], {key: same}),
        case("JSON that says it is text", [send(answered, kind="text/plain")], {key: same}),
        case("a form that says nothing", [send(urlencode(answered), kind="")], {key: same}),
        case("the template in the query of a GET", [message(PATHS["smartflo"] + query, {}, "", "GET")], {key: same}),
        one("answered, without an answer time", {"call_status": "answered", "direction": "inbound", "answer_stamp": "", "billsec": "6"},
            {"outcome": "answered", "answered_at": None}),
        one("a trigger during the call", {"call_status": "Answered by agent", "direction": "click_to_call"}, {"outcome": None}),
        case("one call, reported by two triggers", [
            send({"uuid": uuid, "call_status": "Answered by agent", "direction": "click_to_call"}),
            send({"uuid": uuid, "call_status": "answered", "direction": "clicktocall", "outbound_sec": "7"})],
            {key: {"outcome": "answered", "state": "ended", "talk": 7, "direction": "outbound"}}),
        one("agents in every shape", {"call_status": "missed", "answered_agent": "", "missed_agent": [{"id": "1", "name": "Ann", "number": "101"}],
                                      "answered_agent_number": {"follow_me_number": "101", "id": "1", "name": "Ann"},
                                      "billing_circle": {"operator": "x", "circle": "y"}, "digits_dialed": []},
            {"outcome": "no_answer"}),
    ]
    return file("smartflo", cases, "Smartflo's template, as it is really filled in.", country="IN", time_zone="Asia/Kolkata")


# --- Twilio -------------------------------------------------------------------------------------------

def twilio() -> dict:
    token, site = "fake-twilio-token", "https://calls.example.com"
    sid = "CA00000000000000000000000000000001"
    key = f"twilio/twilio/{sid}"
    base = f"CallSid={sid}&AccountSid=AC00000000000000000000000000000001"
    numbers = "&From=%2B61491570156&To=%2B61491570157&Direction=outbound-api"

    def send(form, path="/call-status-callback", signature=None, **headers):
        signature = signature or twilio_signature(site + path, form, token)
        return message(path, {"Content-Type": FORM, "X-Twilio-Signature": signature, **headers}, form)

    def status(word, more="", **headers):
        return send(f"{base}{numbers}&CallStatus={word}{more}", **headers)

    amd = send(f"{base}&AnsweredBy=machine_end_beep&MachineDetectionDuration=4350", "/amd-status-callback")
    done = status("completed", "&CallDuration=12&SequenceNumber=3")
    ringing = send(f"{base}{numbers}&CallStatus=ringing&SequenceNumber=1&CallerName=Kim")
    retried = {"I-Twilio-Idempotency-Token": "fake-delivery-1"}
    again = {"I-Twilio-Idempotency-Token": "fake-delivery-2"}
    hashed = "/call-status-callback?bodySHA256=" + "0" * 64
    json_of_another = message(hashed, {"Content-Type": JSON, "X-Twilio-Signature": twilio_signature(site + hashed, None, token)},
                              json.dumps({"CallSid": sid}))
    many = MANY.replace("AccountSid=AC00000000000000000000000000000001", "AccountSid=AC1")
    without_blanks = urlencode([pair for pair in parse_qsl(many) if pair[1]])
    dropped = send(many, signature=twilio_signature(site + "/call-status-callback", without_blanks, token))
    cases = [
        case("billed minutes beside seconds", [status("completed", "&Duration=1&CallDuration=49")],
             {key: {"outcome": "answered", "talk": 49, "state": "ended"}}),
        case("completed, and ringing after it", [status("completed", "&CallDuration=49&SequenceNumber=3"), ringing],
             {key: {"outcome": "answered", "state": "ended", "talk": 49, "direction": "outbound"}}),
        case("a machine is heard after the end", [done, amd], {key: {"outcome": "voicemail", "talk": 12, "answered_by": "machine"}}),
        case("a machine is heard before anything else", [amd], {key: {"outcome": None, "state": None, "answered_by": "machine"}}),
        case("a machine is heard before the end", [amd, done], {key: {"outcome": "voicemail", "talk": 12}}),
        case("answered by an unknown party", [done, send(f"{base}&AnsweredBy=unknown", "/amd-status-callback")],
             {key: {"outcome": "answered"}}),
        case("31 parameters, two blank, one not ASCII", [send(many)],
             {key: {"outcome": "answered", "talk": 49, "from": {"kind": "e164", "raw": "+16466063895"},
                    "contact": {"raw": "+551135892112"}, "ended_at": "2018-03-25T09:53:19Z", "answered_by": "human"}}),
        case("the same, signed without the blank ones", [dropped], {}, rejected=[{"status": 403, "refusal": "mismatch"}]),
        case("one delivery twice, and once more by hand", [status("completed", "&CallDuration=49", **headers) for headers in (retried, retried, again)],
             {key: {"outcome": "answered", "talk": 49}}),
        case("the hash of another body", [json_of_another], {}, rejected=[{"status": 403, "refusal": "body_hash"}]),
        case("Etc/UTC for an offset", [status("completed", "&CallDuration=4&Timestamp=Sun%2C+09+Feb+2020+09%3A30%3A03+Etc%2FUTC")],
             {key: {"outcome": "answered", "ended_at": "2020-02-09T09:30:03Z"}}),
        case("a repeated parameter", [status("completed", "&CallDuration=4&Digits=1&Digits=2")], {key: {"outcome": "answered", "talk": 4}}),
        case("answered and dropped at once", [status("completed", "&CallDuration=0")], {key: {"outcome": "no_answer", "talk": 0}}),
        *[case(f"the status {word}", [status(word, "&CallDuration=0")], {key: {"outcome": outcome, "state": "ended"}})
          for word, outcome in [("busy", "busy"), ("failed", "failed"), ("no-answer", "no_answer"), ("canceled", "canceled")]],
        *[case(f"the caller {name}", [send(f"{base}&CallStatus=completed&CallDuration=1&Direction=inbound&From={number}&To=%2B61491570157")],
               {key: {"contact": {"kind": "anonymous"}}})
          for name, number in [("anonymous", "anonymous"), ("spelled on a keypad", "%2B266696687"), ("spelled on a keypad, like a number in China", "%2B86282452253")]],
        case("a recording", [done, send(f"{base}&RecordingSid=RE1&RecordingUrl=https%3A%2F%2Fapi.example%2FRE1&RecordingStatus=completed&RecordingDuration=11",
                                        "/recording-status-callback")],
             {key: {"talk": 12, "recordings": {"RE1": {"url": "https://api.example/RE1", "duration": 11, "status": "completed"}}}}),
        case("a parameter that did not exist", [status("completed", "&CallDuration=3&SomethingNew=1")], {key: {"talk": 3}}),
        case("no call", [send("CallStatus=completed&CallSid=")], {}, rejected=[{"status": 400, "error": "CallSid"}]),
    ]
    about = "Twilio's callbacks, late, doubled and out of order."
    return file("twilio", cases, about, secrets=[token], public_url=site, country="AU", time_zone="Australia/Sydney")


# --- 3CX ----------------------------------------------------------------------------------------------

def threecx() -> dict:
    send = sender("threecx")
    sides = {"caller": "+41225551234", "callee": "+41225555678", "agentExt": "201", "agentMail": "agent@company.example"}
    start = {**sides, "direction": "Inbound", "startTime": "2025-07-16T14:30:00Z"}
    end = {"callId": "12345", **sides, "direction": "Inbound", "duration": "00:04:32",
           "wav": "https://pbx.example/recordings/12345.wav", "endUtc": "2025-07-16T14:34:32Z"}
    whole = {"outcome": "answered", "state": "ended", "direction": "inbound", "talk": 272, "contact": {"raw": "+41225551234"},
             "started_at": "2025-07-16T14:30:00Z", "ended_at": "2025-07-16T14:34:32Z"}
    report = {"number": "+41225551234", "agent": "201", "duration": "00:01:00"}

    def one(name, fields, call):
        return case(name, [send({**report, **fields})], [call])

    cases = [
        case("a start without an id and an end with one", [send(start), send(end)], [whole]),
        case("the end before the start", [send(end), send(start)], [whole]),
        case("an end alone: its start is worked out", [send(end)], [whole]),
        case("an id that is always empty", [send({**end, "callId": ""}),
                                            send({**end, "callId": "", "caller": "+41225559999", "endUtc": "2025-07-16T15:00:00Z"})],
             [{"contact": {"raw": "+41225551234"}, "talk": 272}, {"contact": {"raw": "+41225559999"}, "talk": 272}]),
        one("Missed", {"callType": "Missed", "duration": "", "endUtc": "2026-02-20T09:00:00Z"}, {"outcome": "no_answer", "direction": "inbound"}),
        one("Notanswered", {"callType": "Notanswered", "duration": "", "endUtc": "2026-02-20T09:00:00Z"},
            {"outcome": "no_answer", "direction": "outbound", "contact": {"raw": "+41225551234"}}),
        one("NOTANSWERED", {"callType": "NOTANSWERED", "duration": "", "endUtc": "2026-02-20T09:00:00Z"}, {"outcome": "no_answer", "direction": "outbound"}),
        one("Outbound", {"callType": "Outbound", "endUtc": "2026-02-20T09:00:00Z"}, {"outcome": "answered", "direction": "outbound", "talk": 60}),
        case("the direction in capitals", [send({**end, "direction": "INBOUND"})], [whole]),
        one("a date with dots, the day first", {"callType": "Inbound", "dateTime": "02.01.2026 15:04"},
            {"outcome": "answered", "started_at": "2026-01-02T14:04:00Z"}),
        one("minutes without seconds", {"callType": "Inbound", "startTime": "2026-02-20T09:00Z"}, {"started_at": "2026-02-20T09:00:00Z"}),
        one("a local time with a Z beside UTC", {"callType": "Inbound", "callStartTimeLocal": "2026-02-20T10:00:00Z", "callStartTimeUTC": "2026-02-20T09:00Z"},
            {"started_at": "2026-02-20T09:00:00Z"}),
        one("a local time with a Z alone", {"callType": "Inbound", "callStartTimeLocal": "2026-02-20T10:00:00Z"},
            {"started_at": "2026-02-20T09:00:00Z"}),
        *[one(f"the duration {text}", {"callType": "Inbound", "duration": text, "endUtc": "2026-02-20T09:00:00Z"}, {"talk": seconds})
          for text, seconds in [("272", 272), ("00:04:32", 272), ("0:04:32", 272), ("1.00:00:01", 86401)]],
        case("a duration that is a number", [send({**end, "duration": 272})], [whole]),
    ]
    about = "What 3CX's template sends at the end of a call, and what set-ups send at its start. Keys are derived."
    return file("threecx", cases, about, country="CH", time_zone="Europe/Zurich", date_order="day_first")


# --- OneCom -------------------------------------------------------------------------------------------

def onecom() -> dict:
    send = sender("onecom")
    record = {"uniqueid": "1771578000.123", "call_id": "1771578000", "start": "2026-02-20 11:00:00", "src": "101", "realsrc": "101",
              "dst": "0501234567", "lastdst": "0501234567", "clid": "\"Name\" <0501234567>", "duration": 120,
              "disposition": "ANSWERED", "dcontext": "from-outside"}
    key = "onecom/onecom/1771578000.123"
    minimal = {name: record[name] for name in ("uniqueid", "call_id", "start", "src", "dst", "duration", "disposition")}
    full = {"outcome": "answered", "state": "ended", "started_at": "2026-02-20T09:00:00Z", "total": 120}

    def other(number, **fields):
        return {**minimal, "uniqueid": f"1771578000.{number}", "call_id": str(number), **fields}

    broken = {**other(2), "uniqueid": None, "duration": "abc"}
    del broken["call_id"]
    words = ["NO ANSWER", "no answer", "NOANSWER"]
    cases = [
        case("three records, the second broken", [send([other(1), broken, other(3)])],
             {"onecom/onecom/1771578000.1": full, "onecom/onecom/1771578000.3": full}, rejected=[{"status": 400}]),
        case("not answered, however it is written", [send([other(number, disposition=word) for number, word in enumerate(words)])],
             {f"onecom/onecom/1771578000.{number}": {"outcome": "no_answer"} for number in range(3)}),
        case("a prefix and a suffix of numbers", [send(other(1, src="101-decker", dst="#019#0501234567"))],
             {"onecom/onecom/1771578000.1": {"direction": "outbound", "contact": {"kind": "number", "raw": "0501234567"},
                                             "employee": {"kind": "extension", "raw": "101"}}}),
        case("every field of the set-up guide", [send(record)],
             {key: {**full, "direction": "outbound", "contact": {"raw": "0501234567"}, "employee": {"raw": "101"}}}),
        case("the fewest fields", [send(minimal)], {key: {**full, "contact": {"raw": "0501234567"}}}),
        case("a list", [send([minimal])], {key: full}),
        case("a list in data", [send({"data": [minimal]})], {key: full}),
        case("no uniqueid", [send({**minimal, "uniqueid": ""})], {"onecom/onecom/1771578000": full}),
        case("an empty list", [send([])], {}),
        case("a ping", [send({"phone": "0501234567", "extension": "101"})], {}, other=1),
        case("seconds of talk beside the total", [send({**minimal, "billsec": "110", "duration": "120"})], {key: {"talk": 110, "total": 120}}),
        case("a marked direction", [send({**minimal, "src": "0501234567", "dst": "101", "userfield": "[inbound]"})],
             {key: {"direction": "inbound", "contact": {"raw": "0501234567"}}}),
        case("BUSY, CONGESTION and CANCEL", [send([other(1, disposition="BUSY"), other(2, disposition="CONGESTION"), other(3, disposition="CANCEL")])],
             {"onecom/onecom/1771578000.1": {"outcome": "busy"}, "onecom/onecom/1771578000.2": {"outcome": "failed"},
              "onecom/onecom/1771578000.3": {"outcome": "canceled"}}),
        case("a wall clock that happens twice", [send({**minimal, "start": "2026-10-25 01:30:00"})],
             {key: {"started_at": "2026-10-24T22:30:00Z", "flags": ["zone_fold"]}}),
        case("a PIN is not kept", [send({**minimal, "pincode": "4711"})], {key: {"extra": {"pincode": None}}}),
    ]
    return file("onecom", cases, "Call detail records of OneCom, a MiRTA PBX.", country="IL", time_zone="Asia/Jerusalem")


# --- Asterisk and the generic intake --------------------------------------------------------------------

def asterisk() -> dict:
    send = sender("asterisk")
    row = {"uniqueid": "1771578000.1", "linkedid": "1771578000.1", "src": "0491570156", "dst": "101", "dcontext": "from-trunk",
           "clid": "\"Kim \\\"K\\\" Example\" <0491570156>", "channel": "PJSIP/trunk-00000001", "dstchannel": "PJSIP/101-00000002",
           "start": "2026-02-20 20:00:00", "answer": "2026-02-20 20:00:10", "end": "2026-02-20 20:01:10", "duration": 70, "billsec": 60,
           "disposition": "ANSWERED", "amaflags": "DOCUMENTATION", "accountcode": "", "userfield": "", "sequence": 1}
    whole = {"outcome": "answered", "state": "ended", "talk": 60, "total": 70, "started_at": "2026-02-20T09:00:00Z",
             "answered_at": "2026-02-20T09:00:10Z", "ended_at": "2026-02-20T09:01:10Z"}
    beanstalkd = {"AccountCode": "", "Source": "0491570156", "Destination": "101", "DestinationContext": "from-trunk",
                  "CallerID": "<0491570156>", "Channel": "PJSIP/trunk-00000001", "DestinationChannel": "PJSIP/101-00000002",
                  "LastApplication": "Dial", "LastData": "PJSIP/101", "StartTime": "2026-02-20 20:00:00",
                  "AnswerTime": "2026-02-20 20:00:10", "EndTime": "2026-02-20 20:01:10", "Duration": 70, "Billsec": 60,
                  "Disposition": "ANSWERED", "AMAFlags": "DOCUMENTATION", "UniqueID": "1771578000.1", "UserField": ""}
    ami = {name: str(value) for name, value in beanstalkd.items() if name != "Billsec"} | {"Event": "Cdr", "BillableSeconds": "60"}
    unanswered = {**row, "answer": "", "billsec": 0, "duration": 20, "end": "2026-02-20 20:00:20"}
    words = {"NO ANSWER": "no_answer", "BUSY": "busy", "FAILED": "failed", "CONGESTION": "failed", "CANCEL": "canceled"}
    cases = [
        case("a row as it is written", [send(row)], [whole]),
        case("the keys of cdr_beanstalkd", [send(beanstalkd)], [whole]),
        case("the keys of the AMI event", [send(ami)], [whole]),
        *[case(f"the disposition {word}", [send({**unanswered, "disposition": word})],
               [{"outcome": outcome, "answered_at": None, "started_at": "2026-02-20T09:00:00Z"}]) for word, outcome in words.items()],
        case("one id on the PBXs of two", [send(row, "?source=north"), send(row, "?source=south")], [whole, whole]),
        case("a hole in the JSON", [send('{"uniqueid":"1771578000.1","billsec":,"disposition":"ANSWERED"}')], [],
             rejected=[{"status": 400, "error": "billsec"}]),
    ]
    return file("asterisk", cases, "Asterisk's own records. Keys are the implementation's.", country="AU", time_zone="Australia/Sydney")


def intake() -> dict:
    send = sender("intake")
    record = {"provider": "asterisk", "externalCallId": "1708416000.1", "eventType": "call_finished", "clientPhone": "+79991234567",
              "durationSec": "60", "source": "asterisk"}
    key = "asterisk/asterisk/1708416000.1"
    hole = json.dumps(record).replace('"durationSec": "60"', '"durationSec":')
    cases = [
        case("a start in 1970", [send({**record, "startedAt": "1970-01-01T00:33:46.000Z"})],
             {key: {"outcome": "answered", "started_at": "2026-02-20T09:29:00Z", "flags": ["start_discarded", "start_estimated"]}}),
        case("a hole in the JSON", [send(hole)], {}, rejected=[{"status": 400, "error": "durationSec"}]),
        case("a recording on the PBX's disk", [send({**record, "recordingUrl": "/var/spool/asterisk/monitor/x.wav"})],
             {key: {"recordings": {"recording": {"path": "/var/spool/asterisk/monitor/x.wav", "url": None}}}}),
        case("one id on the PBXs of two", [send({**record, "source": "north"}), send({**record, "source": "south"})],
             {"asterisk/north/1708416000.1": {"talk": 60}, "asterisk/south/1708416000.1": {"talk": 60}}),
        case("the fewest fields", [send({"provider": "asterisk", "externalCallId": "ast-1", "clientPhone": "+79991234567"})],
             {"asterisk/asterisk/ast-1": {"state": "ended", "contact": {"kind": "e164", "raw": "+79991234567"}}}),
        case("every recommended field", [send({**record, "clientName": "Иван Петров", "employeePhone": "+79990001122",
                                               "startedAt": "2026-02-20T09:00:00.000Z", "endedAt": "2026-02-20T09:06:00.000Z",
                                               "durationSec": 360, "transcriptRaw": "…", "autoAnalyze": True, "createTasks": True})],
             {key: {"outcome": "answered", "talk": 360, "started_at": "2026-02-20T09:00:00Z", "ended_at": "2026-02-20T09:06:00Z",
                    "contact_name": "Иван Петров", "employee": {"raw": "+79990001122"}, "auto_analyze": True, "create_tasks": True}}),
        case("variables that were not filled in", [send({**record, "clientName": "{{client_name}}", "recordingUrl": "${MIXMONITOR_FILENAME}"})],
             {key: {"contact_name": None, "recordings": None}}),
        case("a list with a bad record", [send([record, {**record, "externalCallId": ""}])], {key: {"talk": 60}},
             rejected=[{"status": 400, "error": "externalCallId"}]),
        case("a form", [send("provider=asterisk&externalCallId=1&durationSec=60", kind=FORM)], {"asterisk/asterisk/1": {"talk": 60}}),
        case("a negative duration", [send({**record, "durationSec": "-1"})], {}, rejected=[{"status": 400, "error": "durationSec"}]),
    ]
    about = "The generic intake, above all what templates make of it."
    return file("intake", cases, about, country="RU", time_zone="Europe/Moscow")


# --- FMC ----------------------------------------------------------------------------------------------

def fmc() -> dict:
    def send(**fields):
        return message(PATHS["fmc"], {"Content-Type": FORM}, urlencode(fields))

    def history(**fields):
        return send(cmd="history", callid="43294397431", phone="79991112233", diversion="74950000000", start="20260220T090000Z",
                    user="ann", ext="101", crm_token="fake-fmc-secret", **fields)

    key = "fmc/fmc/43294397431"
    words = {"Success": "answered", "success": "answered", "Missed": "no_answer", "Cancel": "canceled", "Busy": "busy",
             "NotAvailable": "no_answer", "NotAllowed": "failed", "NotFound": "failed"}
    generic = {"call_id": "fmc-7001", "client_number": "89991112233", "employee_number": "101", "start_time": "2026-02-20T09:00:00Z",
               "end_time": "2026-02-20T09:01:01Z", "duration_sec": "61", "record_url": "https://pbx.example/1.mp3", "transcript": "…"}
    wrong = send(cmd="history", callid="43294397431", crm_token="fake-of-another-system", status="Success")
    cases = [
        case("MegaFon: an inbound call", [history(type="in", status="success", duration="360")],
             {key: {"outcome": "answered", "state": "ended", "direction": "inbound", "started_at": "2026-02-20T09:00:00Z",
                    "contact": {"raw": "79991112233"}}}),
        case("MegaFon: an outbound call", [history(type="out", status="Success", duration="360")],
             {key: {"outcome": "answered", "direction": "outbound", "contact": {"raw": "79991112233"}}}),
        *[case(f"MegaFon: the status {word}", [history(type="in", status=word, duration="9")], {key: {"outcome": outcome}})
          for word, outcome in words.items()],
        case("MegaFon: another token", [wrong], {}, rejected=[{"status": 403, "refusal": "mismatch"}]),
        case("MegaFon: a request for the caller's name", [send(cmd="contact", phone="79991112233", callid="1", crm_token="fake-fmc-secret")], {}, other=1),
        case("the generic fields", [sender("fmc")(generic)],
             {"fmc/fmc/fmc-7001": {"outcome": "answered", "talk": 61, "started_at": "2026-02-20T09:00:00Z", "ended_at": "2026-02-20T09:01:01Z",
                                   "contact": {"raw": "89991112233"}, "employee": {"raw": "101"}}}),
    ]
    return file("fmc", cases, "MegaFon's virtual PBX, and the generic fields.", country="RU", time_zone="Europe/Moscow")


# --- ElevenLabs ---------------------------------------------------------------------------------------

def elevenlabs() -> dict:
    secret = "wsec_fake_elevenlabs_secret"
    call_sid = "CA00000000000000000000000000000001"

    def send(kind="post_call_transcription", stamp=1771579700, **data):
        data = {"agent_id": "agent_sample", "conversation_id": "conv_1", "status": "done", **data}
        body = json.dumps({"type": kind, "event_timestamp": stamp, "data": data}, ensure_ascii=False)
        headers = {"Content-Type": JSON, "ElevenLabs-Signature": elevenlabs_header(NOW, body, secret)}
        return message("/webhooks/elevenlabs", headers, body)

    metadata = {"start_time_unix_secs": 1771579600, "call_duration_secs": 61}
    phone = {**metadata, "phone_call": {"type": "twilio", "direction": "outbound", "phone_number_id": "p", "agent_number": "+61491570157",
                                        "external_number": "+61491570156", "stream_sid": "MZ1", "call_sid": call_sid}}
    summary = {"transcript_summary": "They agreed on Monday.", "call_successful": "success"}
    turns = [{"role": "agent", "message": "Hello", "time_in_call_secs": 0}, {"role": "user", "message": None, "time_in_call_secs": 3}]
    conversation = {"conversation": "conv_1"}
    expected = {"conversation": "conv_1", "summary": "They agreed on Monday."}
    values = {"age": {"data_collection_id": "age", "value": {"years": [41]}, "rationale": "r"}}
    cases = [
        case("not analysed yet, the time as text", [send(stamp="1739537297", status="processing", analysis=None, metadata=phone)],
             [{**conversation, "summary": None}]),
        case("analysed", [send(analysis=summary, metadata=phone, transcript=turns)], [expected]),
        case("on a call of Twilio", [send(analysis=summary, metadata=phone)], {f"twilio/twilio/{call_sid}": expected}),
        case("processing, and done after it", [send(status="processing", analysis=None, metadata=phone), send(analysis=summary, metadata=phone)], [expected]),
        case("held in a widget", [send(analysis=summary, metadata={**metadata, "phone_call": None})], [{**expected, "contact": None}]),
        case("a type that did not exist", [send(kind="post_call_hologram")]),
        case("fields that did not exist", [send(analysis={**summary, "data_collection_results": values, "new": {"a": [1]}}, metadata={**phone, "new": [{}]}, new=1)],
             [expected]),
    ]
    return file("elevenlabs", cases, "What ElevenLabs posts when a conversation is over.", secrets=[secret])


def files() -> list[dict]:
    """Every file of payloads."""
    return [smartflo(), twilio(), threecx(), onecom(), asterisk(), intake(), fmc(), elevenlabs()]
