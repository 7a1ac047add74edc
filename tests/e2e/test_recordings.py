"""Copies of recordings on the deployed stack: from a stand-in for Twilio into the bucket, and back by the CRM's link."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest
from http_file import Request
from stack import correlation_id, wait_for
from stand_ins import Server
from test_twilio import callback, ended

SOURCE = "recorded"
TOKEN = "fake-twilio-auth-token-of-recordings"
ACCOUNT = "AC00000000000000000000000000000009"
PUBLIC_URL = "https://recordings.example.com"
KEY = "fake-key-of-links-to-recordings-01"
LISTENER, READER = "fake-token-that-may-listen-0001", "fake-token-that-may-not-listen-01"
AUDIO = b"ID3" + bytes(range(256)) * 400
# What may stand in no line of any log.
PRIVATE = ["fake-cdn-token-canary", TOKEN, KEY, "signature=", "X-Amz-Signature", "+61491570159"]


class Recorder(Server):
    """Twilio's recordings, and the host that it redirects to. `late` says how often one is not there yet."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self.late: dict[str, int] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.elsewhere: str | None = None

    def handle(self, handler, headers: dict[str, str], body: bytes) -> None:
        path = urlsplit(handler.path).path
        name = path.rsplit("/", 1)[-1]
        with self._lock:
            self.asked.append((headers["host"], handler.path, headers.get("authorization")))
            left = self.late.get(name, 0)
            self.late[name] = max(0, left - 1)
        pair = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if path.startswith("/cdn/"):
            # Another host: it must not receive the credentials.
            self._say(handler, 400 if "authorization" in headers else 200, {"content-type": "audio/mpeg"}, AUDIO)
        elif headers.get("authorization") != f"Basic {pair}":
            self._say(handler, 401)
        elif left:
            self._say(handler, 404)
        else:
            self._say(handler, 302, {"location": f"{self.elsewhere}/cdn/{name}?token=fake-cdn-token-canary"})

    def _say(self, handler, status: int, headers: dict | None = None, body: bytes = b"") -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture(scope="module")
def recorder(world):
    """Two servers, the first of which redirects to the second, and a source whose recordings are copied."""
    with Recorder() as elsewhere, Recorder() as recorder:
        recorder.elsewhere = elsewhere.url
        world.stack.configure(
            f"sources/twilio/{SOURCE}",
            {"secrets": [{"secret": TOKEN, "account": ACCOUNT}], "public_url": PUBLIC_URL, "country": "AU",
             "create_contacts": False, "settle_seconds": 1, "api_url": recorder.url, "recordings": {"copy": True}},
        )  # fmt: skip
        # The calls of the tests are of a day long past.
        links = {"url": world.stack.stack["base_url"], "keys": [KEY], "days": 3650}
        world.stack.configure("recordings/links", links)
        world.stack.configure("api/listener", {"tokens": [LISTENER], "rights": ["read", "personal"]})
        world.stack.configure("api/no-listener", {"tokens": [READER], "rights": ["read"]})
        world.stack.refresh()
        recorder.others = elsewhere
        yield recorder


def send(world, fields: dict, path: str = "/call-status-callback") -> None:
    """A callback of the source, signed."""
    request = callback(fields, path=path, query=f"source={SOURCE}", token=TOKEN, base=PUBLIC_URL)
    assert world.stack.send(request).status == 200


def recorded(world, recorder, late: int = 0) -> tuple[str, str]:
    """A call with a recording: its key, and the link that the CRM received."""
    call_id = world.unique("CA-recorded")
    recording = "RE" + call_id
    recorder.late[f"{recording}.mp3"] = late
    send(world, ended(call_id) | {"AccountSid": ACCOUNT, "To": "+61491570159"})
    send(
        world,
        {"CallSid": call_id, "AccountSid": ACCOUNT, "RecordingSid": recording, "RecordingStatus": "completed",
         "RecordingUrl": f"{recorder.url}/2010-04-01/Accounts/{ACCOUNT}/Recordings/{recording}",
         "RecordingDuration": "12"},
        "/recording-status-callback",
    )  # fmt: skip
    key = f"twilio/{SOURCE}/{call_id}"

    def link() -> str | None:
        for one in world.delivered("/warehouse", key):
            for heard in one.json()["data"]["recordings"]:
                return heard["url"]
        return None

    return key, wait_for("the link at the CRM", link)


def copy_of(world, key: str) -> dict:
    (copy,) = world.stack.call(key)["copies"].values()
    return copy


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are answers."""

    def redirect_request(self, *_: object) -> None:
        return None


def open_link(link: str, token: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """What a link is answered, not followed."""
    request = urllib.request.Request(link, headers={"authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=30) as answer:
            status, headers, body = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, headers, body = error.code, error.headers, error.read()
    return status, {name.lower(): value for name, value in headers.items()}, body


def signed(key: str, recording: str, until: int, secret: str = KEY) -> str:
    """A link's parameters, worked out here once more from docs/recordings.md."""
    provider, source, call_id = key.split("/", 2)
    mac = hmac.new(secret.encode(), digestmod=hashlib.sha256)
    parts = [b"switchboard recording link 1", *(part.encode() for part in (provider, source, call_id, recording))]
    for part in [*parts, struct.pack(">q", until)]:
        mac.update(struct.pack(">Q", len(part)) + part)
    tag = base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")
    return f"until={until}&signature={tag}"


def test_a_recording_comes_into_the_bucket_and_the_crms_link_leads_to_its_bytes(world, recorder):
    key, link = recorded(world, recorder, late=1)
    wait_for("the copy", lambda: copy_of(world, key)["state"] == "copied", 90)
    copy = copy_of(world, key)
    assert copy["failures"] == 1 and copy["object"]["sha256"] == hashlib.sha256(AUDIO).hexdigest()

    bucket = world.stack.stack["outputs"]["RecordingsBucketName"]
    name = copy["object"]["key"]
    assert name.startswith(f"recordings/{correlation_id(key)}/") and key.rsplit("/", 1)[1] not in name
    found = world.stack.client("s3").get_object(Bucket=bucket, Key=name)
    assert (found["Body"].read(), found["ContentType"]) == (AUDIO, "audio/mpeg")

    assert link.startswith(f"{world.stack.stack['base_url']}/calls/{key}/recordings/RE")
    assert "X-Amz" not in link and "twilio.com" not in link
    status, headers, body = open_link(link)
    assert status == 302, body
    assert headers["cache-control"] == "no-store"
    where = parse_qs(urlsplit(headers["location"]).query)
    assert where["X-Amz-Expires"] == ["300"]
    with urllib.request.urlopen(headers["location"], timeout=30) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (AUDIO, "audio/mpeg")

    # Delivered once: a copy is no update. Only Twilio received the credentials.
    types = [one.json()["type"] for one in world.delivered("/warehouse", key)]
    assert types.count("call.completed") == 1 and len(types) <= 2
    assert recorder.others.asked and not any(who for _, _, who in recorder.others.asked)


def test_a_link_opens_until_it_is_over_and_nothing_else_does(world, recorder):
    key, link = recorded(world, recorder)
    wait_for("the copy", lambda: copy_of(world, key)["state"] == "copied", 90)
    path, _, query = link.partition("?")
    recording = path.rsplit("/", 1)[-1]
    until = int(parse_qs(query)["until"][0])
    assert query == signed(key, recording, until)
    past = int(time.time()) - 1
    other = signed(key.replace("CA-", "CB-"), recording, until)
    for parameters, expected in [
        (query, 302),
        (signed(key, recording, past + 3_600), 302),
        (signed(key, recording, past), 410),
        (signed(key, recording, until, "another-fake-key-of-links-00000001"), 401),
        (query.replace("until=2", "until=3"), 401),
        (other, 401),
        (f"until={until}", 401),
        ("", 401),
    ]:
        status, headers, body = open_link(f"{path}?{parameters}" if parameters else path)
        assert status == expected, (parameters, body)
        if status != 302:
            assert headers["content-type"] == "application/problem+json", body
    for token, expected in [(LISTENER, 302), (READER, 403), ("fake-token-that-is-unknown-0001", 401)]:
        assert open_link(path, token)[0] == expected


def test_a_copy_that_is_not_there_yet_says_when_to_ask_again(world, recorder):
    key, link = recorded(world, recorder, late=99)
    wait_for("the first try", lambda: copy_of(world, key)["failures"] >= 1, 90)
    status, headers, body = open_link(link)
    assert status == 404 and int(headers["retry-after"]) >= 5, body
    story = world.stack.send(
        Request("GET", f"/calls/{key}", {"authorization": f"Bearer {LISTENER}"}, b"")
    ).body["recordings"][0]["copy"]  # fmt: skip
    assert story["state"] == "waiting" and story["problem"].startswith("responded 404")


def test_no_log_line_holds_anything_private(world, recorder):
    key, link = recorded(world, recorder)
    wait_for("the copy", lambda: copy_of(world, key)["state"] == "copied", 90)
    open_link(link)
    seen = 0
    for function in world.stack.stack["functions"]:
        for line in world.stack.logs(function):
            seen += 1
            for private in PRIVATE:
                assert private not in line, (function, private)
    assert seen > 20
    assert any("recording copied" in line for line in world.stack.logs("recordings"))
