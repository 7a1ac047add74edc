"""Bodies around each limit: stored whole, or refused with a 413 that says so."""

from __future__ import annotations

import gzip
import json

import pytest
from boto3.dynamodb.conditions import Key
from http_file import Request
from stack import pk, wait_for

SECRET = "fake-intake-secret"
# What the hook takes. As Base64 it just fits into the 6 MB of a Lambda request.
LARGEST = 4_500_000
# The sizes at which DynamoDB's item, Lambda's request and API Gateway's body end.
ITEM, FUNCTION, API = 400 * 1024, 6 * 1024 * 1024, 10 * 1024 * 1024


def body_of(size: int, call_id: str) -> bytes:
    """A body of just this many bytes: a call with a long transcript that does not compress well."""
    def written(transcript: str) -> bytes:
        record = {
            "provider": "test", "externalCallId": call_id, "clientPhone": "+61491570156", "durationSec": 5,
            "source": "limits", "transcriptRaw": transcript,
        }  # fmt: skip
        return json.dumps(record, ensure_ascii=False).encode()

    left = size - len(written(""))
    words = " ".join(f"{n * 2654435761 % 2**32:x}" for n in range(left // 4))
    body = written(words[:left])
    assert len(body) == size
    return body


def post(body: bytes) -> Request:
    """The request of a body."""
    headers = {"Content-Type": "application/json", "x-crm-intake-secret": SECRET}
    return Request("POST", "/api/crm/intake/calls?source=limits", headers, body)


def kept(world, key: str) -> bytes:
    """The raw body that a call keeps, out of as many items as it takes."""
    (update,) = world.stack.call(key)["updates"].values()
    if "inline" in update["raw"]:
        return bytes(update["raw"]["inline"])
    blob = update["raw"]["stored"]
    condition = Key("pk").eq(pk(key)) & Key("sk").begins_with(f"blob#{blob['digest']}#")
    page = world.stack.calls.query(KeyConditionExpression=condition)
    parts = page["Items"]
    while "LastEvaluatedKey" in page:
        page = world.stack.calls.query(
            KeyConditionExpression=condition, ExclusiveStartKey=page["LastEvaluatedKey"]
        )
        parts += page["Items"]
    packed = b"".join(bytes(part["bytes"]) for part in sorted(parts, key=lambda part: part["sk"]))
    return gzip.decompress(packed)


@pytest.mark.parametrize("limit", [4 * 1024, ITEM, 2_000_000, LARGEST])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_what_fits_is_kept_whole_and_what_does_not_is_refused(world, limit, off):
    call_id = f"limit-{limit}-{off + 1}"
    body = body_of(limit + off, call_id)
    answer = world.stack.send(post(body))
    if limit + off > LARGEST:
        assert answer.status == 413, answer
        assert answer.body == {"error": f"body too large: at most {LARGEST} bytes"}
        assert world.stack.call(f"test/limits/{call_id}") is None
        return
    assert answer.status == 200, answer
    key = f"test/limits/{call_id}"
    assert kept(world, key) == body
    wait_for(key, lambda: world.stack.settled(key))


@pytest.mark.parametrize("limit", [FUNCTION, API])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_what_no_gateway_or_function_takes_is_refused(world, limit, off):
    call_id = f"limit-{limit}-{off + 1}"
    answer = world.stack.send(post(body_of(limit + off, call_id)))
    assert answer.status == 413, answer
    assert world.stack.call(f"test/limits/{call_id}") is None


def test_a_transcript_of_two_megabytes_arrives_at_the_crm_intact(world):
    body = body_of(2 * 1024 * 1024, "transcript-of-2-mb")
    assert world.stack.send(post(body)).status == 200
    key = "test/limits/transcript-of-2-mb"
    wait_for(key, lambda: world.stack.settled(key))
    (got,) = world.delivered("/warehouse", key)
    assert got.json()["data"]["transcript"] == json.loads(body)["transcriptRaw"]
