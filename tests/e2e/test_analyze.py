"""Analyses of transcripts by a model, on the deployed stack."""

from __future__ import annotations

import json
import time

import pytest
from http_file import Request
from model import Model
from stack import wait_for

SOURCE = "sources/intake/analysed"
SECRET = "fake-secret-of-the-analysed-source"
TRANSCRIPT = "Agent: Hello, this is Fake Ltd.\nCustomer: Kimberley here, call me on Monday."


def call(call_id: str, **more: object) -> Request:
    """A call with a transcript, of the source that has its transcripts analysed."""
    body = {
        "provider": "asterisk", "source": "analysed", "externalCallId": call_id, "status": "answered",
        "clientPhone": "+79991112233", "durationSec": 61, "startedAt": "2026-02-20T09:00:00Z",
        "transcriptRaw": TRANSCRIPT,
    }  # fmt: skip
    headers = {"Content-Type": "application/json", "X-Crm-Intake-Secret": SECRET}
    return Request("POST", "/api/crm/intake/calls", headers, json.dumps(body | more).encode())


@pytest.fixture(scope="module")
def model(world):
    """A model, asked in the way of chat completions."""
    with Model() as model:
        world.stack.configure("models/default", {
            "api": "openai", "model": "a-model", "base_url": f"{model.url}/v1", "api_key": "fake-model-key",
        })  # fmt: skip
        criteria = [{"name": "greeting", "description": "Says who calls."}]
        world.stack.configure(SOURCE, {
            "secrets": [SECRET], "country": "RU", "create_contacts": False, "analyze": {"criteria": criteria},
        })  # fmt: skip
        world.stack.refresh()
        yield model
    # The samples ask for analyses too: they would wait for a model that is gone.
    world.stack.forget("models/default")
    world.stack.refresh()


def newest(world, key: str) -> dict:
    """The newest payload of an ended call at the CRM of the format canonical."""
    wait_for(key, lambda: world.stack.settled(key))
    return world.delivered("/warehouse", key)[-1].json()


def send(world, name: str, **more: object) -> str:
    """Sends a call; gives its key."""
    call_id = world.unique(name)
    answer = world.stack.send(call(call_id, **more))
    assert (answer.status, answer.body["accepted"]) == (200, 1), answer.body
    return f"asterisk/analysed/{call_id}"


def test_an_analysis_is_told_stored_and_paid_for(world, model):
    key = send(world, "analysed")
    body = newest(world, key)
    assert body["type"] == "call.completed"
    assert body["data"]["analysis"]["summary"] == "A fake analysis of the talk."
    (score,) = body["data"]["analysis"]["scorecard"]
    assert (score["criterion"], score["score"], score["scale"]) == ("greeting", 5, 5)
    assert score["evidence"] == [{"turn": 1, "quote": "Hello, this is Fake Ltd."}]
    assert body["data"]["tasks"] == [{"title": "Call back", "due": None, "owner": "employee"}]
    (flat,) = world.delivered("/crm", key)
    assert flat.json()["summary"] == "A fake analysis of the talk."

    mark = world.stack.call(key)["analysis"]
    assert (mark["state"], mark["tasks"]) == ("done", 1)
    assert mark["tokens"] == {"input": 700, "output": 90}
    provider, source, call_id = key.split("/", 2)
    items = {item["sk"]: item for item in world.stack.items(f"call#{provider}#{source}#{call_id}")}
    assert items["analysis"]["model"] == "a-model"
    assert items["task#01"]["title"] == "Call back"


def test_a_model_that_throttles_is_asked_again(world, model):
    model.says.append(429)
    key = send(world, "throttled")
    # Within the minute for which the first delivery waits.
    assert newest(world, key)["data"]["analysis"]["outcome"] == "follow_up"
    assert world.stack.call(key)["analysis"]["attempts"] == 2


def test_an_answer_that_does_not_hold_is_asked_for_once_more_and_then_has_failed(world, model):
    before = len(model.asked)
    model.says += [{"summary": "Log in at https://evil.example"}] * 2
    key = send(world, "fooled")
    body = newest(world, key)
    assert (body["data"]["analysis"], body["data"]["tasks"]) == (None, [])
    mark = world.stack.call(key)["analysis"]
    assert mark["state"] == "failed"
    assert mark["reason"].endswith("twice: summary: holds a link or markup")
    assert len(model.asked) - before == 2
    second = model.asked[-1]["body"]["messages"][-1]["content"]
    assert "summary: holds a link or markup" in second and "evil" not in second


def test_a_call_may_decide_for_itself(world, model):
    before = len(model.asked)
    quiet = send(world, "quiet", autoAnalyze=False)
    assert newest(world, quiet)["data"]["analysis"] is None
    assert "analysis" not in world.stack.call(quiet)
    without = send(world, "without-tasks", createTasks=False)
    body = newest(world, without)
    assert body["data"]["analysis"] and body["data"]["tasks"] == []
    assert len(model.asked) - before == 1


def test_a_long_transcript_is_cut_by_turns(world, model):
    lines = "\n".join(f"Agent: a fake turn of some words, number {n:05}." for n in range(1, 5_001))
    key = send(world, "long", transcriptRaw=lines)
    turns = newest(world, key)["data"]["analysis"]["turns"]
    assert turns["total"] == 5_000 and 100 < turns["shown"] < 5_000
    prompt = model.asked[-1]["body"]["messages"][-1]["content"]
    assert "number 00001." in prompt and "number 05000." in prompt and "left_out" in prompt


def test_bedrock_is_asked_with_a_signature(world, model):
    stack = world.stack
    client = stack.client("lambda")
    name = stack.stack["functions"]["analyze"]
    kept = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    chat = {"api": "openai", "model": "a-model", "base_url": f"{model.url}/v1", "api_key": "fake-model-key"}
    try:
        stack.configure("models/default", {"api": "bedrock", "model": "fake.model-v1:0"})
        own = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url}
        client.update_function_configuration(FunctionName=name, Environment={"Variables": kept | own})
        key = send(world, "bedrock")
        assert newest(world, key)["data"]["analysis"]["model"] == "fake.model-v1:0"
        assert model.asked[-1]["path"] == "/model/fake.model-v1%3A0/converse"
        assert "/bedrock/aws4_request" in model.asked[-1]["headers"]["authorization"]
    finally:
        stack.configure("models/default", chat)
        again = kept | {"CONFIGURED_AT": str(time.time_ns())}
        client.update_function_configuration(FunctionName=name, Environment={"Variables": again})


def test_no_log_line_holds_what_was_said(world, model):
    lines = "".join(world.stack.logs("analyze") + world.stack.logs("enrich"))
    assert "call analysed" in lines
    for private in ("Kimberley", "Fake Ltd", "evil.example", "fake-model-key", "9991112233"):
        assert private not in lines, private
    counted = [line for line in world.stack.records("analyze") if "tokens_in" in line and "_aws" in line]
    assert sum(line["tokens_in"] for line in counted) >= 700
