"""Formats that speak another's API, on the deployed stack: a template, Pipedrive, Zoho."""

from __future__ import annotations

import json

import pytest
from crms import CrmApi
from stack import SIGNING_SECRET, wait_for
from test_faults import post
from test_operator import switchboard

SOURCE = "formats"
TEMPLATE = """{
  "ticket": {{ data.call_id }},
  "who": {{ data.contact_name | default("unknown") }},
  "phone": {{ data.contact.e164 | digits }},
  "talked": {{ data.talk_seconds | mmss }},
  "note": {{ data.summary }}
}"""
ZOHO_CLIENT = {
    "client_id": "1000.FAKECLIENT", "client_secret": "fake-zoho-secret", "refresh_token": "1000.fake-refresh",
}  # fmt: skip
HOSTILE = 'Zoë "Q" \\ </b> {{ x }}\n(a,b)'


def destination(**more) -> dict:
    """A destination of this module's calls alone."""
    return {"filter": {"sources": [SOURCE], **more.pop("filter", {})}, "retry_seconds": [1, 1, 1]} | more


@pytest.fixture(scope="module")
def crms(world):
    """The CRMs, and destinations for them."""
    with CrmApi("pipedrive") as pipedrive, CrmApi("zoho") as zoho:
        person = {"id": 5, "type": "person", "name": "Ann", "phones": ["+61 491 570 156"]}
        pipedrive.change(tokens=["fake-pipedrive-token"], persons=[person])
        world.stack.configure(
            "destinations/pipedrive",
            destination(url=pipedrive.url, format="pipedrive", contacts="find_or_create",
                 auth={"type": "header", "name": "x-api-token", "value": "fake-pipedrive-token"}),
        )  # fmt: skip
        world.stack.configure(
            "destinations/zoho",
            destination(url=zoho.url, format="zoho", contacts="find_or_create",
                 filter={"events": ["call.completed", "call.updated"]},
                 auth={"type": "oauth_refresh", "token_url": f"{zoho.url}/oauth/v2/token", **ZOHO_CLIENT},
                 settings={"key_field": "Switchboard_Key"}),
        )  # fmt: skip
        world.stack.configure(
            "destinations/tickets",
            destination(url=f"{world.crm.url}/tickets", format="template", signing_secrets=[SIGNING_SECRET],
                 settings={"template": TEMPLATE, "method": "PUT", "content_type": "application/vnd.api+json"}),
        )  # fmt: skip
        world.stack.refresh()
        yield pipedrive, zoho
        client, prefix = world.stack.client("ssm"), world.stack.stack["parameter_prefix"]
        for name in ("pipedrive", "zoho", "tickets"):
            client.delete_parameter(Name=f"{prefix}/destinations/{name}")
        world.stack.refresh()


def call(world, name: str, **more) -> str:
    """Sends a call, and waits until it is delivered everywhere."""
    call_id = world.unique(name)
    assert world.stack.send(post(call_id, SOURCE, **more)).status == 200
    key = f"test/{SOURCE}/{call_id}"
    wait_for(key, lambda: world.stack.settled(key))
    states = {name: one["state"] for name, one in world.stack.deliveries(key).items()}
    assert set(states.values()) == {"delivered"}, states
    return key


def test_a_call_is_there_in_the_words_of_each(world, crms):
    pipedrive, zoho = crms
    key = call(
        world, "each", clientName=HOSTILE, startedAt="2026-02-20T09:00:00.000Z", endedAt="2026-02-20T09:02:05Z",
        durationSec=125,
    )  # fmt: skip
    (log,) = [log for log in pipedrive["logs"] if log["start_time"] == "2026-02-20 09:00:00"]
    assert (log["person_id"], log["outcome"], log["duration"]) == (5, "connected", "125")
    assert log["end_time"] == "2026-02-20 09:02:05"
    (record,) = [one for one in zoho["records"]["Calls"] if one["Call_Start_Time"] == "2026-02-20T09:00:00+00:00"]
    assert (record["Call_Duration"], record["Call_Result"]) == ("02:05", "Answered")
    (contact,) = zoho["records"]["Contacts"]
    assert (record["Who_Id"]["id"], contact["Phone"]) == (contact["id"], "+61491570156")
    (ticket,) = world.delivered("/tickets", key)
    assert ticket.headers["content-type"] == "application/vnd.api+json"
    assert ticket.headers["webhook-signature"].startswith("v1,")
    assert ticket.json() == {
        "ticket": key.rsplit("/", 1)[1], "who": HOSTILE.replace("\n", " "), "phone": "61491570156", "talked": "02:05", "note": None,
    }  # fmt: skip


def test_an_answer_that_is_lost_doubles_only_what_was_declared_so(world, crms):
    pipedrive, zoho = crms
    call(world, "known")
    before = len(pipedrive["logs"]), len(zoho["records"]["Calls"])
    call(world, "counted")
    assert (len(pipedrive["logs"]), len(zoho["records"]["Calls"])) == (before[0] + 1, before[1] + 1)
    pipedrive.instead("POST /v1/callLogs", 0)
    zoho.instead("POST /crm/v8/Calls", 0)
    call(world, "lost")
    assert not pipedrive["instead"] and not zoho["instead"]
    assert len(pipedrive["logs"]) == before[0] + 3
    assert len(zoho["records"]["Calls"]) == before[1] + 2


def test_who_asks_for_time_gets_it(world, crms):
    pipedrive, zoho = crms
    pipedrive.instead("", 429, **{"x-ratelimit-reset": "2"})
    zoho.instead("", 429)
    key = call(world, "limited")
    for name in ("pipedrive", "zoho"):
        attempts = world.stack.deliveries(key)[f"{name}#call.completed"]["attempts"]
        assert [attempt.get("status") for attempt in attempts][0] == 429


def test_an_access_token_that_is_not_taken_any_more_is_renewed_within_the_attempt(world, crms):
    _, zoho = crms
    granted = len(zoho["granted"])
    zoho.change(tokens=[])
    key = call(world, "fresh-token")
    assert len(zoho["granted"]) == granted + 1
    assert len(world.stack.deliveries(key)["zoho#call.completed"]["attempts"]) == 1


def test_nothing_of_a_call_is_in_the_words_of_a_result(world, crms):
    key = call(world, "words", clientName="Canary Person")
    for delivery in world.stack.deliveries(key).values():
        for attempt in delivery["attempts"]:
            assert not any(word in attempt["result"] for word in ("Canary", "491570156"))
    assert not any("Canary" in line or "491570156" in line for line in world.stack.logs("deliver"))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{\n{{ data.contact.nmae }}}", "settings.template: line 2: there is no data.contact.nmae: the nearest is data.contact.name"),
        ("{{ data.source | uper }}", "settings.template: line 1: there is no filter uper: the nearest is upper"),
        ("{% if data.source %}", "settings.template: line 1"),
        ('{"a": "{{ data.source }}"}', "settings.template: makes no JSON of a call"),
    ],
)
def test_the_command_line_refuses_a_template_that_would_fail(world, template, words):
    value = {"url": "https://crm.example.com/t", "format": "template", "signing_secrets": [SIGNING_SECRET]}
    value["settings"] = {"template": template}
    refused = switchboard(world, "put", "destinations/refused", text=json.dumps(value))
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "destinations/refused" not in switchboard(world, "list").stdout
