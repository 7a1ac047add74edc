"""What breaks: a CRM in trouble, a send that fails, a worker that lacks a right."""

from __future__ import annotations

import json
import socket
import time

import boto3
import pytest
from botocore.exceptions import ClientError
from http_file import Request
from stack import SIGNING_SECRET, wait_for
from stand_ins import Answer

SECRET = "fake-intake-secret"


def post(call_id: str, source: str, **more) -> Request:
    """A call to the intake."""
    body = {"provider": "test", "externalCallId": call_id, "clientPhone": "+61491570156", "durationSec": 5, "source": source}
    headers = {"Content-Type": "application/json", "x-crm-intake-secret": SECRET}
    return Request("POST", "/api/crm/intake/calls", headers, json.dumps(body | more).encode())


def destination(url: str, source: str, **more) -> dict:
    """A destination of one source's calls."""
    return {
        "url": url, "format": "canonical", "filter": {"sources": [source]}, "retry_seconds": [1, 1, 1],
        "timeout_seconds": 2, "signing_secrets": [SIGNING_SECRET], **more,
    }  # fmt: skip


def closed_port() -> int:
    """A port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# How the CRM behaves; how the delivery ends; how many requests it takes; what is said of the last.
BEHAVIOURS = {
    "recovers": ([Answer(500), Answer(503)], Answer(200), "delivered", 3),
    "asks-for-time": ([Answer(429, {"Retry-After": "4"})], Answer(200), "delivered", 2),
    "refuses": ([], Answer(422), "failed", 1),
    "redirects": ([], Answer(302, {"Location": "http://169.254.169.254/"}), "failed", 4),
    "hangs": ([Answer(200, wait=20)], Answer(200), "delivered", 2),
    "hangs-up": ([Answer(0)], Answer(200), "delivered", 2),
    "refuses-connections": ([], None, "failed", 0),
}


@pytest.fixture(scope="module")
def troubled(world):
    """One call per behaviour, delivered to a CRM with that behaviour and to a healthy one."""
    started = {}
    for name, (first, then, _, _) in BEHAVIOURS.items():
        url = f"{world.crm.url}/{name}" if then else f"http://127.0.0.1:{closed_port()}/"
        if then:
            world.crm.script(f"/{name}", *first, then=then)
        world.stack.configure(f"destinations/{name}", destination(url, name))
    world.stack.refresh()
    for name in BEHAVIOURS:
        started[name] = time.time()
        assert world.stack.send(post(world_call(name), name)).status == 200
    return started


def world_call(name: str) -> str:
    return f"trouble-{name}"


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_crm_in_trouble(world, troubled, name):
    _, then, state, requests = BEHAVIOURS[name]
    key = f"test/{name}/{world_call(name)}"
    wait_for(key, lambda: world.stack.settled(key), 120)
    delivery = world.stack.deliveries(key)[f"{name}#call.completed"]
    assert delivery["state"] == state
    got = world.crm.received(f"/{name}")
    if then:
        assert len(got) == requests
    # Every try says the same, under the same key.
    assert len({one.body for one in got}) <= 1
    assert len({one.headers["idempotency-key"] for one in got}) <= 1
    if name == "asks-for-time":
        assert got[1].at - got[0].at >= 4
    # Nothing is lost: what was refused is kept, with what was said and what would be sent again.
    assert "frozen" in delivery and delivery["attempts"]


def test_the_crm_that_is_well_is_not_kept_waiting(world, troubled):
    """Its requests have come while the one that hangs had not been given up yet, or soon after."""
    for name in BEHAVIOURS:
        key = f"test/{name}/{world_call(name)}"
        wait_for(key, lambda key=key: world.stack.settled(key), 120)
        assert len(world.delivered("/warehouse", key)) == 1
    hung = world.crm.received("/hangs")
    key = f"test/hangs/{world_call('hangs')}"
    assert world.delivered("/warehouse", key)[0].at < hung[1].at, "the other destination waited for the one that hangs"


def test_a_send_that_fails_is_made_up_for(world):
    """The hook's queue is gone after its put: by redelivery, and without one by the sweep."""
    client = world.stack.client("lambda")
    name = world.stack.stack["functions"]["intake"]
    settings = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    broken = settings | {"ENRICH_QUEUE_URL": settings["ENRICH_QUEUE_URL"] + "-gone"}
    client.update_function_configuration(FunctionName=name, Environment={"Variables": broken})
    try:
        for call in ("lost-redelivered", "lost-swept"):
            assert world.stack.send(post(call, "lost")).status == 200
    finally:
        client.update_function_configuration(FunctionName=name, Environment={"Variables": settings})
    for call in ("lost-redelivered", "lost-swept"):
        stored = world.stack.call(f"test/lost/{call}")
        assert stored["owed"] and stored["due_at"]
    assert world.stack.send(post("lost-redelivered", "lost")).body == {"accepted": 0, "duplicates": 1}
    wait_for("the redelivered call", lambda: world.stack.settled("test/lost/lost-redelivered"))
    client.invoke(FunctionName=world.stack.stack["functions"]["sweep"], Payload=b"{}")
    wait_for("the swept call", lambda: world.stack.settled("test/lost/lost-swept"))
    for call in ("lost-redelivered", "lost-swept"):
        assert len(world.delivered("/warehouse", f"test/lost/{call}")) == 1


def test_a_message_that_is_no_job_is_dropped_and_its_neighbours_are_done(world):
    sqs = world.stack.client("sqs")
    queue = world.stack.stack["queues"]["enrich"]
    sqs.send_message(QueueUrl=queue, MessageBody="{not a job")
    assert world.stack.send(post("neighbour", "neighbour")).status == 200
    wait_for("the neighbour", lambda: world.stack.settled("test/neighbour/neighbour"))
    wait_for("the complaint", lambda: [l for l in world.stack.logs("enrich") if "without a job" in l])
    dead = world.stack.stack["queues"]["enrich-dead"]
    attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])
    assert attributes["Attributes"]["ApproximateNumberOfMessages"] == "0"


def test_a_function_can_do_no_more_than_its_role_needs(world):
    """With the hook's own role: it may put a call and read its sources, and nothing else of these."""
    arn = world.stack.client("lambda").get_function_configuration(
        FunctionName=world.stack.stack["functions"]["twilio"]
    )["Role"]
    given = world.stack.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session = boto3.Session(
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
        region_name=world.stack.state["region"],
    )
    client = lambda service: session.client(service, endpoint_url=world.stack.state["endpoint"])  # noqa: E731
    prefix = world.stack.stack["parameter_prefix"]
    table, queues = world.stack.stack["tables"]["calls"], world.stack.stack["queues"]
    found = client("ssm").get_parameters_by_path(Path=f"{prefix}/sources/twilio", WithDecryption=True)
    assert found["Parameters"]
    for what, act in {
        "another provider's secrets": lambda: client("ssm").get_parameters_by_path(Path=f"{prefix}/sources/intake", WithDecryption=True),
        "a CRM's secrets": lambda: client("ssm").get_parameters_by_path(Path=f"{prefix}/destinations", WithDecryption=True),
        "a parameter's write": lambda: client("ssm").put_parameter(Name=f"{prefix}/sources/twilio/x", Value="x", Type="String"),
        "a scan of the calls": lambda: client("dynamodb").scan(TableName=table),
        "a deletion": lambda: client("dynamodb").delete_item(TableName=table, Key={"pk": {"S": "x"}, "sk": {"S": "x"}}),
        "the directory": lambda: client("dynamodb").get_item(TableName=world.stack.stack["tables"]["directory"], Key={"pk": {"S": "x"}, "sk": {"S": "x"}}),
        "the deliver queue": lambda: client("sqs").send_message(QueueUrl=queues["deliver"], MessageBody="x"),
        "reading its own queue": lambda: client("sqs").receive_message(QueueUrl=queues["enrich"]),
    }.items():
        with pytest.raises(ClientError) as refused:
            act()
        assert "AccessDenied" in str(refused.value), what
