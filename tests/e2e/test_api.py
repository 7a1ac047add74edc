"""The operator's API against the deployed stack, with IAM enforced."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from http_file import Request
from stack import wait_for
from test_faults import post
from test_twilio import callback, ended

# Which rights each token has.
TOKENS = {
    "everything": ("fake-token-of-an-operator-0001", ["read", "personal", "deliver", "context", "directory", "dial", "sync"]),
    "reader": ("fake-token-of-a-reader-00000001", ["read"]),
    "placer": ("fake-token-of-a-dialler-0000001", ["context"]),
}


@pytest.fixture(scope="module")
def api(world):
    """Asks the API, as the one who has a token."""
    for name, (token, rights) in TOKENS.items():
        world.stack.configure(f"api/{name}", {"tokens": [token], "rights": rights})

    def ask(method: str, target: str, body: object = None, who: str | None = "everything"):
        headers = {"content-type": "application/json"}
        if who:
            headers["authorization"] = f"Bearer {TOKENS[who][0]}"
        sent = json.dumps(body).encode() if body is not None else b""
        return world.stack.send(Request(method, target, headers, sent))

    # A token that opens nothing may be newer than what is known: then the function looks again.
    wait_for("the tokens", lambda: ask("GET", "/calls").status == 200, 20)
    return ask


def stored(world, source: str, prefix: str, **more) -> str:
    """A call that was delivered to both CRMs."""
    call_id = world.unique(prefix)
    assert world.stack.send(post(call_id, source, clientName="Kim Example", campaign="Spring", **more)).status == 200
    key = f"test/{source}/{call_id}"
    wait_for(key, lambda: world.stack.settled(key))
    return key


def test_calls_are_listed_by_filters_over_pages(world, api):
    keys = [stored(world, "list", "list", startedAt=f"2026-02-20T0{n}:00:00Z") for n in (9, 9, 3, 7, 0)]
    wanted = {key.rsplit("/", 1)[1] for key in keys}
    found, cursor, pages = [], "", 0
    while True:
        page = api("GET", f"/calls?provider=test&source=list&from=2026-02-20&to=2026-02-20&limit=2{cursor}")
        assert page.status == 200, page.body
        assert len(page.body["calls"]) <= 2
        found += page.body["calls"]
        pages += 1
        if page.body["next"] is None:
            break
        cursor = f"&cursor={page.body['next']}"
    assert pages >= 3 and {call["call_id"] for call in found} == wanted and len(found) == 5
    order = [(call["began_at"], call["call_id"]) for call in found]
    assert order == sorted(order, reverse=True)
    here = "/calls?source=list&from=2026-02-20&to=2026-02-20"
    for more, count in (
        ("&outcome=answered", 5), ("&outcome=busy", 0), ("&provider=twilio", 0), ("&delivery=delivered", 5),
        ("&delivery=failed", 0), ("&number=%2B61491570156", 5), ("&number=%2B61491570157", 0),
    ):  # fmt: skip
        assert len(api("GET", here + more).body["calls"]) == count, more
    assert api("GET", "/calls?source=list&from=2026-02-21&to=2026-02-22").body == {"calls": [], "next": None}
    wrong = api("GET", "/calls?provider=test&limit=2" + cursor)
    assert (wrong.status, wrong.headers["content-type"]) == (400, "application/problem+json")
    assert wrong.body["type"] == "urn:switchboard:problem:invalid-request" and wrong.body["errors"][0]["field"] == "cursor"


def test_a_calls_story_is_whole_and_masked_for_those_who_may_not(world, api):
    key = stored(world, "api", "delivered")
    story = api("GET", f"/calls/{key}")
    assert story.status == 200, story.body
    assert story.headers["cache-control"] == "no-store" and story.headers["x-request-id"]
    body = story.body
    assert (body["outcome"], body["talk_seconds"], body["campaign"]) == ("answered", 5, "Spring")
    assert body["contact"]["e164"] == "+61491570156" and body["contact_name"] == "Kim Example"
    (update,) = body["updates"]
    assert update["kind"] == "call_finished" and "outcome" in update["changed"]
    assert body["owes"] == [] and body["delivery"] == "delivered"
    assert {one["destination"]: one["attempts"][0]["status"] for one in body["deliveries"]} == {"crm": 200, "warehouse": 200}
    def asked() -> list[dict]:
        mine = story.headers["x-request-id"]
        return [record for record in world.stack.records("calls") if record.get("request_id") == mine]

    # A log line may arrive a little after the answer.
    wait_for("the log line of a request", asked)
    assert asked()[0]["caller"] == "everything"

    masked = api("GET", f"/calls/{key}", who="reader")
    assert masked.status == 200
    for personal in ("491570156", "Kim", "Example"):
        assert personal not in json.dumps(masked.body)
        assert not [line for line in world.stack.logs("calls") if personal in line]
    assert api("GET", f"/calls/{key}/transcript").status == 404
    assert api("GET", "/calls/test/api/absent").body["type"] == "urn:switchboard:problem:not-found"


def test_a_transcript_is_read_by_those_who_may(world, api):
    call_id = world.unique("said")
    text = "agent: hello\n" * 2_000
    assert world.stack.send(post(call_id, "api", transcriptRaw=text)).status == 200
    read = api("GET", f"/calls/test/api/{call_id}/transcript")
    assert (read.status, read.body) == (200, {"transcript": text.strip(), "bytes": len(text.strip()), "is_whole": True})
    assert api("GET", f"/calls/test/api/{call_id}/transcript", who="reader").status == 403


def test_an_id_with_slashes_is_found_however_it_is_written(world, api):
    call_id = f"pbx/{world.unique('slash')}#1"
    assert world.stack.send(post(call_id, "api")).status == 200
    for written in (quote(call_id, safe=""), quote(call_id)):
        story = api("GET", f"/calls/test/api/{written}")
        assert (story.status, story.body.get("call_id")) == (200, call_id), written
        assert api("GET", f"/calls/test/api/{written}/transcript").status == 404
        given = api("PUT", f"/calls/test/api/{written}/context", {"campaign": "Slashes"})
        assert (given.status, given.body.get("call_id")) == (200, call_id), given.body


def test_redelivery_posts_once_more_under_another_key(world, api):
    key = stored(world, "api", "again")
    (first,) = world.delivered("/warehouse", key)
    answer = api("POST", f"/calls/{key}/redeliver", {"destinations": ["warehouse"]})
    assert answer.status == 202, answer.body
    (queued,) = answer.body["queued"]
    assert (queued["destination"], queued["event"], queued["state"]) == ("warehouse", "call.completed", "pending")
    # The API queues it itself: no sweep is asked to.
    (second,) = wait_for("the second request", lambda: world.delivered("/warehouse", key)[1:])
    assert second.body == first.body
    assert second.headers["idempotency-key"] == queued["idempotency_key"] != first.headers["idempotency-key"]
    wait_for(key, lambda: world.stack.settled(key))
    assert len(world.delivered("/crm", key)) == 1
    # To all, without a body.
    assert len(api("POST", f"/calls/{key}/redeliver").body["queued"]) == 2
    wait_for("both", lambda: len(world.delivered("/warehouse", key)) == 3 and len(world.delivered("/crm", key)) == 2)
    wait_for(key, lambda: world.stack.settled(key))
    assert api("POST", f"/calls/{key}/redeliver", {"destinations": ["absent"]}).status == 404


def test_a_twilio_call_is_sent_again_by_its_sid(world, api):
    sid = world.unique("CAagain").replace("-", "")
    key = f"twilio/twilio/{sid}"
    assert world.stack.send(callback(ended(sid), "contact_id=c-17&lead=L-42")).status == 200
    wait_for(key, lambda: world.stack.deliveries(key) and world.stack.settled(key), 90)
    data = world.delivered("/warehouse", key)[0].json()["data"]
    assert (data["contact_id"], data["lead_id"]) == ("c-17", "L-42")
    before = len(world.delivered("/warehouse", key))
    answer = api("POST", "/api/test-crm-webhook", {"callSid": sid})
    assert answer.status == 202, answer.body
    assert (answer.body["source"], answer.body["call_id"]) == ("twilio", sid)
    wait_for("one more", lambda: len(world.delivered("/warehouse", key)) == before + 1)
    assert api("POST", "/api/test-crm-webhook", {"callSid": "CA" + "f" * 32}).status == 404
    assert api("POST", "/api/test-crm-webhook", {"call": key}).status == 202
    wait_for("and one more", lambda: len(world.delivered("/warehouse", key)) == before + 2)
    wait_for(key, lambda: world.stack.settled(key))


def test_a_context_may_come_before_and_after_the_call(world, api):
    call_id = world.unique("context")
    key = f"test/api/{call_id}"
    before = {"campaign": "Renewals", "contact_id": "c-17", "lead_id": "L-42", "conversation_id": "conv_x"}
    given = api("PUT", f"/calls/{key}/context", before, who="placer")
    assert (given.status, given.body["context"]) == (200, before | {"contact_name": None})
    stub = world.stack.call(key)
    assert "owed" not in stub and world.stack.deliveries(key) == {}
    assert api("PUT", f"/calls/{key}/context", before, who="placer").status == 200
    assert world.stack.call(key)["version"] == stub["version"]
    assert call_id in {call["call_id"] for call in api("GET", "/calls?provider=test&source=api&limit=100").body["calls"]}

    # What the webhook says beside it is folded in, and does not undo it.
    assert world.stack.send(post(call_id, "api", campaign="From the PBX")).status == 200
    wait_for(key, lambda: world.stack.deliveries(key) and world.stack.settled(key))
    (received,) = world.delivered("/warehouse", key)
    data = received.json()["data"]
    assert (data["campaign"], data["contact_id"], data["lead_id"], data["conversation_id"]) == ("Renewals", "c-17", "L-42", "conv_x")
    assert data["talk_seconds"] == 5

    # After the delivery it is news, once: what follows has no update left.
    for campaign in ("Autumn", "Winter"):
        assert api("PUT", f"/calls/{key}/context", {"campaign": campaign}).status == 200
        wait_for(key, lambda: world.stack.settled(key))
    first, *rest = world.delivered("/warehouse", key)
    assert [one.json()["type"] for one in rest] == ["call.updated"]
    assert rest[0].json()["data"]["campaign"] == "Autumn"
    assert len(world.delivered("/crm", key)) == 1
    assert api("GET", f"/calls/{key}").body["campaign"] == "Winter"
    kinds = [update["kind"] for update in api("GET", f"/calls/{key}").body["updates"]]
    assert kinds == ["context", "call_finished", "context", "context"]


def test_nobody_gets_in_without_a_token_and_nobody_further_than_it(world, api):
    paths = [
        ("GET", "/calls", "placer"), ("GET", "/calls/test/api/x", "placer"),
        ("GET", "/calls/test/api/x/transcript", "reader"), ("POST", "/calls/test/api/x/redeliver", "reader"),
        ("PUT", "/calls/test/api/x/context", "reader"), ("POST", "/api/test-crm-webhook", "reader"),
    ]  # fmt: skip
    for method, path, weak in paths:
        anonymous = api(method, path, {}, who=None)
        assert (anonymous.status, anonymous.headers["content-type"]) == (401, "application/problem+json")
        assert anonymous.headers["www-authenticate"] == "Bearer"
        forbidden = api(method, path, {}, who=weak)
        assert (forbidden.status, forbidden.body["type"]) == (403, "urn:switchboard:problem:forbidden")


def test_the_function_may_do_what_it_needs_and_nothing_else(world):
    """What the transformed template grants it, read back from the deployed role."""
    settings = world.stack.client("lambda").get_function_configuration(FunctionName=world.stack.stack["functions"]["calls"])
    iam, role = world.stack.client("iam"), settings["Role"].rsplit("/", 1)[1]
    allowed = {}
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        for statement in document["Statement"]:
            actions = statement["Action"]
            resources = statement["Resource"]
            for action in [actions] if isinstance(actions, str) else actions:
                allowed.setdefault(action, []).extend([resources] if isinstance(resources, str) else resources)
    assert set(allowed) == {
        "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "s3:GetObject", "sqs:SendMessage", "ssm:GetParametersByPath",
    }  # fmt: skip
    readable = ("/api", "/sources/twilio", "/destinations", "/recordings")
    assert all(any(folder in one for folder in readable) for one in allowed["ssm:GetParametersByPath"])
    assert all(one.endswith("/recordings/*") for one in allowed["s3:GetObject"])
    assert not [one for one in allowed["dynamodb:Query"] if one.endswith("/index/due")]
