"""Click-to-call and hang-up on the deployed stack, with stand-ins for both providers that count who was dialled."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree

import pytest
from http_file import Request
from stand_ins import Server
from twilio.request_validator import RequestValidator

TOKEN = "fake-token-that-may-dial-0001"
READER = "fake-token-that-may-read-0001"
PUBLIC_URL = "https://calls.example.com"
AGENT, CUSTOMER, ELSEWHERE = "+61491570156", "+61491570157", "+919876543210"


class Smartflo(Server):
    """Smartflo's REST interface. `how` says how the next orders are answered."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._tokens = itertools.count(1)
        self.token = None
        self.logins: list[dict] = []
        self.dialled: list[dict] = []
        self.hung_up: list[str] = []
        self.live: list[dict] = []
        self.how = "yes"

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        said = json.loads(body) if body else {}
        path = handler.path
        if path == "/v1/auth/login":
            with self._lock:
                self.token = f"fake-smartflo-token-{next(self._tokens)}"
                self.logins.append(said)
            return self._say(handler, 200, {"access_token": self.token, "token_type": "bearer", "expires_in": 3600})
        if headers.get("authorization") != f"Bearer {self.token}":
            return self._say(handler, 401, {"success": False, "message": "Unauthenticated."})
        if path == "/v1/live_calls":
            return self._say(handler, 200, self.live)
        if path == "/v1/call/hangup":
            with self._lock:
                self.hung_up.append(said["call_id"])
            return self._say(handler, 200, {"success": True, "message": "Call hangup successfully"})
        with self._lock:
            how = self.how
            if how != "no":
                self.dialled.append(said)
        if how == "no":
            return self._say(handler, 422, {"success": False, "message": f"{said['agent_number']} is no agent"})
        if how == "silent":
            time.sleep(9)  # Longer than the function waits.
        if how == "broken":
            return self._say(handler, 502, {})
        return self._say(handler, 200, {"success": True, "message": "Originate successfully queued", "ref_id": "R1"})

    def _say(self, handler, status: int, body: object) -> None:
        try:
            handler.answer(status, json.dumps(body).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # The caller did not wait.


class Twilio(Server):
    """Twilio's Call resource."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._calls = itertools.count(1)
        self.dialled: list[list[tuple[str, str]]] = []
        self.ended: list[str] = []

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        expected = "Basic " + base64.b64encode(b"ACfake:fake-twilio-auth-token").decode()
        if headers.get("authorization") != expected:
            handler.answer(401, b'{"code": 20003}')
            return
        path = urlsplit(handler.path).path
        if path == "/2010-04-01/Accounts/ACfake/Calls.json":
            with self._lock:
                self.dialled.append(parse_qsl(body.decode()))
                sid = f"CAtelephony{next(self._calls)}"
            time.sleep(0.3)
            handler.answer(201, json.dumps({"sid": sid, "status": "queued"}).encode())
        else:
            with self._lock:
                self.ended.append(path.rsplit("/", 1)[-1].removesuffix(".json"))
            assert parse_qs(body.decode()) == {"Status": ["completed"]}
            handler.answer(200, b'{"status": "completed"}')


@pytest.fixture(scope="module")
def phone(world) -> Iterator[SimpleNamespace]:
    """Both providers, configured, and a way to ask."""
    with Smartflo() as smartflo, Twilio() as twilio:
        stack = world.stack
        stack.configure("api/dialler", {"tokens": [TOKEN], "rights": ["dial"]})
        stack.configure("api/reader", {"tokens": [READER], "rights": ["read"]})
        stack.configure("api/kim", {"tokens": ["fake-token-of-kim-00000000"], "rights": ["dial"], "employee": "kim"})
        limits = {"countries": ["AU"], "per_minute": 500, "per_day": 500}
        login = {"email": "ops@example.com", "password": "fake-password", "api_url": smartflo.url}
        for name, dial in (("dialler", limits), ("slow", limits | {"per_minute": 500, "per_day": 2})):
            source = {"secrets": ["fake-smartflo-secret"], "country": "AU", "dial": dial | login}
            stack.configure(f"sources/smartflo/{name}", source)
        account = {"account": "ACfake", "auth_token": "fake-twilio-auth-token", "api_url": twilio.url}
        dial = limits | account | {"caller_ids": ["+61491570110"]}
        source = {"secrets": ["fake-twilio-auth-token"], "public_url": PUBLIC_URL, "country": "AU", "dial": dial}
        stack.configure("sources/twilio/dialler", source)
        stack.refresh()
        keys = itertools.count(1)

        def ask(method: str, path: str, body: object = None, token: str | None = TOKEN, key: str | None = None):
            headers = {"content-type": "application/json"}
            if token:
                headers["authorization"] = f"Bearer {token}"
            if key:
                headers["idempotency-key"] = key
            return stack.send(Request(method, path, headers, b"" if body is None else json.dumps(body).encode()))

        def press(key: str | None = None, provider: str = "smartflo", token: str | None = TOKEN, **order: object):
            body = {"source": f"{provider}/dialler", "agent": AGENT, "to": CUSTOMER} | order
            return ask("POST", "/telephony/calls", body, token, key or f"key-{next(keys)}")

        yield SimpleNamespace(smartflo=smartflo, twilio=twilio, ask=ask, press=press, world=world)


@pytest.fixture(autouse=True)
def afresh(phone) -> None:
    """Each test counts for itself."""
    phone.smartflo.how = "yes"
    phone.smartflo.live = []
    for seen in (phone.smartflo.dialled, phone.smartflo.hung_up, phone.twilio.dialled, phone.twilio.ended):
        seen.clear()


def kind(reply) -> str:
    """Which problem it was."""
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.body["type"].removeprefix("urn:switchboard:problem:")


def test_without_a_token_the_right_or_a_key_nobody_is_dialled(phone):
    order = {"source": "smartflo/dialler", "agent": AGENT, "to": CUSTOMER}
    for path, body in (
        ("/telephony/calls", order),
        ("/api/v1/smartflo/click-to-call", {"agent_number": AGENT, "destination_number": CUSTOMER, "source": "dialler"}),
    ):
        assert phone.ask("POST", path, body, None, "no-token").status == 401
        assert phone.ask("POST", path, body, "fake-token-that-is-not-known", "no-token").status == 401
        refused = phone.ask("POST", path, body, READER, "wrong-right")
        assert (refused.status, kind(refused), refused.body["right"]) == (403, "forbidden", "dial")
        assert phone.ask("POST", path, body).status == 400
    for path in ("/telephony/hangup", "/api/v1/smartflo/hangup"):
        assert phone.ask("POST", path, {"call": "x", "call_id": "x"}, READER).status == 403
    # The directory has no such employee here, so that this token can place no call.
    assert kind(phone.press(token="fake-token-of-kim-00000000")) == "not-your-agent"
    assert phone.smartflo.dialled == []


def test_nobody_is_dialled_in_another_country_or_at_a_number_that_is_none(phone):
    for to in (ELSEWHERE, "000", "112", "1900 123 456", "sip:a@example.com", "0491570156,,1"):
        refused = phone.press(to=to)
        assert (refused.status, kind(refused)) == (422, "not-dialled"), to
        assert to not in json.dumps(refused.body)
    assert phone.press(caller_id="+61491570158").status == 422
    assert kind(phone.press(provider="twilio", agent=ELSEWHERE)) == "not-dialled"
    assert kind(phone.press(provider="twilio", to="+61491570110")) == "not-dialled"
    assert phone.press(source="smartflo/absent").status == 404
    assert phone.press(surprise=1).status == 400
    assert phone.smartflo.dialled == [] and phone.twilio.dialled == []


def test_smartflo_is_told_the_lead_and_a_repeated_key_gets_the_same_answer(phone):
    first = phone.press("lead-1", context={"lead_id": "L-7"})
    assert first.status == 201, first.body
    assert first.body["state"] == "placed" and first.body["ref_id"] == "R1"
    assert CUSTOMER not in json.dumps(first.body)
    again = phone.press("lead-1", context={"lead_id": "L-7"})
    assert (again.status, again.body) == (first.status, first.body)
    assert phone.smartflo.dialled == [
        {"agent_number": AGENT, "destination_number": CUSTOMER, "async": 1, "custom_identifier": "L-7"}
    ]
    other = phone.press("lead-1", to="+61491570158")
    assert (other.status, kind(other)) == (422, "key-reused")
    shown = phone.ask("GET", f"/telephony/calls/{first.body['press_id']}")
    assert (shown.status, shown.body) == (200, first.body)
    assert phone.ask("GET", "/telephony/calls/" + "0" * 32).status == 404
    assert len(phone.smartflo.dialled) == 1


def test_of_twenty_parallel_presses_one_dials(phone):
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: phone.press("parallel", "twilio"), range(20)))
    assert len(phone.twilio.dialled) == 1
    placed = [reply for reply in replies if reply.status == 201]
    others = [reply for reply in replies if reply.status != 201]
    assert placed and all(reply.body == placed[0].body for reply in placed)
    assert all(reply.status == 409 and kind(reply) == "in-progress" and reply.headers["retry-after"] for reply in others)
    assert phone.press("parallel", "twilio").body == placed[0].body
    assert len(phone.twilio.dialled) == 1


@pytest.mark.parametrize("how", ["silent", "broken"])
def test_a_provider_that_does_not_say_leaves_the_press_unknown_and_is_never_asked_again(phone, how):
    phone.smartflo.how = how
    first = phone.press(f"unknown-{how}")
    assert (first.status, kind(first)) == (409, "unknown-result"), first.body
    assert len(phone.smartflo.dialled) == 1
    phone.smartflo.how = "yes"
    for _ in range(2):
        again = phone.press(f"unknown-{how}")
        assert (again.status, again.body) == (first.status, first.body)
    assert len(phone.smartflo.dialled) == 1
    counted = [record for record in phone.world.stack.records("telephony") if "presses_unknown" in record]
    assert counted and counted[-1]["stage"] == "local"
    # It may be ringing all the same: by the press, it can be ended.
    assert kind(phone.ask("POST", f"/telephony/calls/{first.body['press_id']}/hangup")) == "not-live"
    phone.smartflo.live = [
        {"call_id": "1775719461.1", "direction": 2, "customer_number": "0491570157"},
        {"call_id": "1775719461.2", "direction": 2, "customer_number": "0491570158"},
    ]
    ended = phone.ask("POST", f"/telephony/calls/{first.body['press_id']}/hangup")
    assert ended.status == 200 and phone.smartflo.hung_up == ["1775719461.1"], ended.body


def test_a_refusal_is_remembered(phone):
    phone.smartflo.how = "no"
    first = phone.press("refused")
    assert (first.status, kind(first)) == (422, "provider-refused") and AGENT not in json.dumps(first.body)
    phone.smartflo.how = "yes"
    assert phone.press("refused").body == first.body
    assert phone.smartflo.dialled == []
    assert phone.press("refused-anew").status == 201
    assert len(phone.smartflo.dialled) == 1


def test_a_token_that_has_expired_is_renewed_and_one_call_is_placed(phone):
    assert phone.press().status == 201
    logins = len(phone.smartflo.logins)
    phone.smartflo.token = "fake-another"
    assert phone.press().status == 201
    assert len(phone.smartflo.dialled) == 2 and len(phone.smartflo.logins) == logins + 1
    assert phone.smartflo.logins[-1] == {"email": "ops@example.com", "password": "fake-password"}


def test_an_agent_dials_no_faster_than_is_allowed_and_the_key_stays_free(phone):
    replies = [phone.press(f"rate-{n}", source="smartflo/slow") for n in range(3)]
    assert [reply.status for reply in replies] == [201, 201, 429]
    assert kind(replies[2]) == "too-many-calls" and int(replies[2].headers["retry-after"]) > 0
    assert phone.press("rate-2", source="smartflo/slow").status == 429
    assert phone.press("rate-other", source="smartflo/slow", agent=CUSTOMER, to=AGENT).status == 201
    assert len(phone.smartflo.dialled) == 3


def test_twilio_rings_the_agent_first_and_its_callback_joins_the_call(phone):
    placed = phone.press(provider="twilio", context={"campaign": "spring & summer", "lead_id": "L-7"})
    assert placed.status == 201, placed.body
    order = dict(phone.twilio.dialled[0])
    assert (order["To"], order["From"]) == (AGENT, "+61491570110")
    dial = ElementTree.fromstring(order["Twiml"]).find("Dial")
    assert dial is not None and dial.findtext("Number") == CUSTOMER and dial.get("callerId") == "+61491570110"
    # As Twilio does: it posts to that URL, and signs all of it.
    form = {"CallSid": placed.body["call"].split("/")[2], "AccountSid": "ACfake", "CallStatus": "completed",
            "Direction": "outbound-api", "From": "+61491570110", "To": AGENT, "CallDuration": "42"}
    url = order["StatusCallback"]
    signature = RequestValidator("fake-twilio-auth-token").compute_signature(url, form)
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
    callback = Request("POST", url.removeprefix(PUBLIC_URL), headers, urlencode(form).encode())
    assert phone.world.stack.send(callback).status == 200
    call = phone.world.stack.call(placed.body["call"])
    assert call["call"]["contact"]["raw"] == CUSTOMER and call["call"]["employee"]["raw"] == AGENT
    assert call["call"]["campaign"] == "spring & summer"
    late = phone.ask("POST", "/telephony/hangup", {"call": placed.body["call"]})
    assert (late.status, kind(late)) == (409, "not-live") and phone.twilio.ended == []


def test_a_call_is_ended_by_its_press_or_by_its_key(phone):
    by_press = phone.press(provider="twilio").body
    assert phone.ask("POST", f"/telephony/calls/{by_press['press_id']}/hangup").status == 200
    by_key = phone.press(provider="twilio").body
    ended = phone.ask("POST", "/telephony/hangup", {"call": by_key["call"]})
    assert ended.status == 200 and ended.body["hung_up"] is True, ended.body
    sids = [one["call"].split("/")[2] for one in (by_press, by_key)]
    assert phone.twilio.ended == sids
    assert phone.ask("POST", "/telephony/hangup", {"call": "twilio/absent/CA1"}).status == 404
    assert phone.ask("POST", "/telephony/hangup", {"call": "nonsense"}).status == 400


def test_smartflos_own_paths_work_as_a_front_end_uses_them(phone):
    order = {"agent_number": AGENT, "destination_number": CUSTOMER, "ref_id": "lead-123", "async": 1, "source": "dialler"}
    placed = phone.ask("POST", "/api/v1/smartflo/click-to-call", order, key="front-end-1")
    assert placed.status == 200 and placed.body["success"] is True, placed.body
    assert phone.ask("POST", "/api/v1/smartflo/click-to-call", order, key="front-end-1").body == placed.body
    assert [one["custom_identifier"] for one in phone.smartflo.dialled] == ["lead-123"]
    # What it saved as the call's id is all that it sends to hang up.
    phone.smartflo.live = [{"call_id": "1775719461.9", "direction": 2, "customer_number": CUSTOMER}]
    saved = {"call_id": placed.body["data"]["call_id"]}
    ended = phone.ask("POST", "/api/v1/smartflo/hangup", saved)
    assert ended.status == 200 and ended.body["success"] is True, ended.body
    # The id of a webhook that said both works too, by either of them.
    webhook = {"uuid": "69d75426f0a9f", "call_id": "h11.08-1775719461.77", "call_status": "Answered by agent",
               "direction": "clicktocall", "ref_id": "R1", "source": "dialler"}
    sent = Request("POST", "/api/v1/smartflo/webhook", {"content-type": "application/json",
                   "x-webhook-secret": "fake-smartflo-secret"}, json.dumps(webhook).encode())
    assert phone.world.stack.send(sent).status == 200
    for call_id in ("69d75426f0a9f", "h11.08-1775719461.77"):
        ended = phone.ask("POST", "/api/v1/smartflo/hangup", {"call_id": call_id, "source": "dialler"})
        assert ended.status == 200, ended.body
    assert phone.smartflo.hung_up == ["1775719461.9", "1775719461.77", "1775719461.77"]
    unknown = phone.ask("POST", "/api/v1/smartflo/hangup", {"call_id": "69d0000000000", "source": "dialler"})
    assert (unknown.status, kind(unknown)) == (404, "not-found")


def test_nothing_personal_and_no_secret_is_logged(phone):
    assert phone.press("logged", context={"campaign": "canary-campaign"}).status == 201
    lines = "\n".join(phone.world.stack.logs("telephony"))
    assert "placed" in lines or "API request" in lines
    for value in (AGENT, CUSTOMER, "491570157", "fake-password", "fake-smartflo-token", TOKEN, "canary-campaign"):
        assert value not in lines, value
