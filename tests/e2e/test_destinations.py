"""Calls into HubSpot and Salesforce, on the deployed stack, by stand-ins that enforce those CRMs' rules."""

from __future__ import annotations

import json

import boto3
import pytest
from botocore.exceptions import ClientError
from crms import CrmApi
from http_file import Request
from stack import ROOT, correlation_id, wait_for

SECRET = "fake-intake-secret"
NUMBER = "+61491570110"
KEY = ROOT / "lib" / "testkit" / "src" / "stand_in" / "salesforce-key.pem"
SEARCHES = ("POST /crm/v3/objects/contacts/search", "POST /services/data/v62.0/parameterizedSearch")


@pytest.fixture(scope="module")
def crms(world):
    """A HubSpot and a Salesforce, each with the calls of its own source."""
    with CrmApi("hubspot") as hubspot, CrmApi("salesforce") as salesforce:
        hubspot.change(expires_in=1800)
        events = ["call.completed", "call.updated"]
        common = {"contacts": "find_or_create", "retry_seconds": [1, 1, 1], "timeout_seconds": 10}
        hub = {
            "format": "hubspot", "url": hubspot.url, "filter": {"sources": ["hub"], "events": events},
            "auth": {
                "type": "oauth_refresh", "client_id": "fake-client", "client_secret": "fake-secret",
                "refresh_token": "fake-refresh-0",
            }, **common,
        }  # fmt: skip
        force = {
            "format": "salesforce", "url": salesforce.url, "filter": {"sources": ["force"], "events": events},
            "auth": {
                "type": "oauth_jwt", "client_id": "fake-consumer-key", "user": "switchboard@example.com",
                "private_key": KEY.read_text(),
            }, **common,
        }  # fmt: skip
        world.stack.configure("destinations/hub", hub)
        world.stack.configure("destinations/force", force)
        for source in ("hub", "force"):
            world.stack.configure(f"sources/intake/{source}", {"secrets": [SECRET], "country": "AU"})
        world.stack.refresh()
        yield {"hub": hubspot, "force": salesforce}
        client, prefix = world.stack.client("ssm"), world.stack.stack["parameter_prefix"]
        for name in ("destinations/hub", "destinations/force", "sources/intake/hub", "sources/intake/force"):
            client.delete_parameter(Name=f"{prefix}/{name}")
        world.stack.refresh()


def send(world, source: str, call_id: str, **more) -> str:
    """A call to the intake; gives its key once all is done."""
    body = {"provider": "test", "externalCallId": call_id, "clientPhone": NUMBER, "clientName": "Zoë Example"}
    body |= {"durationSec": 65, "direction": "inbound", "source": source} | more
    headers = {"Content-Type": "application/json", "x-crm-intake-secret": SECRET}
    request = Request("POST", "/api/crm/intake/calls", headers, json.dumps(body).encode())
    assert world.stack.send(request).status == 200
    key = f"test/{source}/{call_id}"
    wait_for(key, lambda: world.stack.settled(key), 120)
    return key


def results(world, key: str, destination: str) -> list[str]:
    """What the attempts at a call's deliveries to a destination came to."""
    deliveries = world.stack.deliveries(key)
    found = [one for name, one in sorted(deliveries.items()) if name.startswith(destination + "#")]
    return [attempt["result"] for one in found for attempt in one["attempts"]]


def entries(crm) -> dict[str, dict]:
    """The calls of a CRM by our key."""
    state = crm.change()
    if "calls" in state:
        return {one["switchboard_call_key"]: one for one in state["calls"].values()}
    return {one["Switchboard_Call_Key__c"]: one for one in state["tasks"].values()}


def people(crm) -> dict[str, dict]:
    """Its contacts."""
    state = crm.change()
    return state["contacts"] if "contacts" in state else {key: one for key, (_, one) in state["people"].items()}


def searches(crm) -> int:
    """How often it has searched for a contact."""
    return sum(len(crm.requests(search)) for search in SEARCHES)


@pytest.mark.parametrize("name", ["hub", "force"])
def test_a_call_is_created_with_its_contact_and_an_update_changes_it(world, crms, name):
    crm = crms[name]
    key = send(world, name, f"dest-{name}-1")
    created = "delivered: 200, contact created" if name == "hub" else "delivered: 201, contact created"
    assert results(world, key, name) == [created]
    entry = entries(crm)[correlation_id(key)]
    ((contact, person),) = people(crm).items()
    if name == "hub":
        assert entry["hs_call_duration"] == "65000" and entry["hs_call_direction"] == "INBOUND"
        assert person == {"phone": NUMBER, "firstname": "Zoë", "lastname": "Example"}
        assert {one for _, one in crm["associations"]} == {contact}
    else:
        assert entry["CallDurationInSeconds"] == 65 and entry["WhoId"] == contact
        assert entry["TaskSubtype"] == "Call" and person["LastName"] == "Example"
    # A late recording: the same entry.
    send(world, name, f"dest-{name}-1", recordingUrl="https://pbx.example/late.mp3")
    wait_for("the update", lambda: len(results(world, key, name)) == 2)
    assert results(world, key, name)[1] == "delivered: 200, contact known"
    assert len(entries(crm)) == 1
    assert "https://pbx.example/late.mp3" in json.dumps(entries(crm)[correlation_id(key)])
    # The next call knows the contact without a search.
    before = searches(crm)
    other = send(world, name, f"dest-{name}-2")
    assert results(world, other, name)[0].endswith("contact known")
    assert len(people(crm)) == 1
    assert (searches(crm), before) == (1, 1)


@pytest.mark.parametrize("name", ["hub", "force"])
def test_a_token_that_is_no_longer_taken_is_replaced_within_the_attempt(world, crms, name):
    crm = crms[name]
    send(world, name, f"dest-{name}-3")
    before = len(crm["granted"])
    crm.change(tokens=[])
    key = send(world, name, f"dest-{name}-4")
    assert len(results(world, key, name)) == 1
    granted = crm["granted"]
    assert len(granted) == before + 1
    # It is kept for all, encrypted, and no log line has it.
    path = f"{world.stack.stack['parameter_prefix']}/tokens/{name}"
    kept = world.stack.client("ssm").get_parameter(Name=path, WithDecryption=True)["Parameter"]
    assert kept["Type"] == "SecureString" and granted[-1] in kept["Value"]
    assert not [line for line in world.stack.logs("deliver") if "fake-access-" in line]


@pytest.mark.parametrize("name", ["hub", "force"])
def test_a_limit_is_waited_for_and_nothing_is_doubled(world, crms, name):
    crm = crms[name]
    write = "POST /crm/v3/objects/calls" if name == "hub" else "PATCH /services/data/v62.0/sobjects/Task"
    crm.instead(write, 429, **{"retry-after": "2"})
    key = send(world, name, f"dest-{name}-5")
    first, second = results(world, key, name)
    assert first == "retry later: 429" and second.startswith("delivered: ")
    assert correlation_id(key) in entries(crm)


def test_a_contact_that_is_gone_is_looked_for_again(world, crms):
    hubspot = crms["hub"]
    hubspot.change(contacts={"777": {"phone": "0491 570 110"}})
    key = send(world, "hub", "dest-hub-6")
    assert results(world, key, "hub") == ["delivered: 200, contact found"]
    assert "777" in {contact for _, contact in hubspot["associations"]}


def test_no_result_and_no_log_line_names_anybody(world, crms):
    hubspot = crms["hub"]
    hubspot.change(contacts={"778": {"mobilephone": NUMBER}, "779": {"phone": NUMBER}})
    key = send(world, "hub", "dest-hub-7")
    assert results(world, key, "hub") == ["delivered: 200, no contact: ambiguous"]
    for line in world.stack.logs("deliver"):
        for personal in ("491570110", "Zoë", "Example"):
            assert personal not in line


def test_deliver_can_keep_tokens_and_write_no_other_parameter(world, crms):
    functions = world.stack.stack["functions"]
    arn = world.stack.client("lambda").get_function_configuration(FunctionName=functions["deliver"])["Role"]
    given = world.stack.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session = boto3.Session(
        aws_access_key_id=given["AccessKeyId"], aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"], region_name=world.stack.state["region"],
    )  # fmt: skip
    client = lambda service: session.client(service, endpoint_url=world.stack.state["endpoint"])  # noqa: E731
    prefix = world.stack.stack["parameter_prefix"]
    tables = world.stack.stack["tables"]
    put = lambda name: client("ssm").put_parameter(Name=f"{prefix}/{name}", Value="x", Type="SecureString", Overwrite=True)  # noqa: E731
    put("tokens/test")
    world.stack.client("ssm").delete_parameter(Name=f"{prefix}/tokens/test")
    key = lambda pk: {"pk": {"S": pk}, "sk": {"S": "entry"}}  # noqa: E731
    client("dynamodb").get_item(TableName=tables["directory"], Key=key("contact#unknown"))
    for what, act in {
        "a destination": lambda: put("destinations/test"),
        "a source": lambda: put("sources/test/test"),
        "an employee": lambda: client("dynamodb").get_item(TableName=tables["directory"], Key=key("employee#x")),
        "employees in a batch": lambda: client("dynamodb").batch_get_item(
            RequestItems={tables["directory"]: {"Keys": [key("contact#x"), key("employee#x")]}}
        ),
        "a count of another's": lambda: client("dynamodb").update_item(
            TableName=tables["calls"], Key=key("press-rate#x"), UpdateExpression="ADD x :x", ExpressionAttributeValues={":x": {"N": "1"}}
        ),
        "a contact's deletion": lambda: client("dynamodb").delete_item(TableName=tables["directory"], Key=key("contact#x")),
        "a change of the directory past its versions": lambda: client("dynamodb").update_item(
            TableName=tables["directory"], Key=key("contact#x"), UpdateExpression="SET x = :x", ExpressionAttributeValues={":x": {"S": "x"}}
        ),
        "a scan of the directory": lambda: client("dynamodb").scan(TableName=tables["directory"]),
        "a call's deletion": lambda: client("dynamodb").delete_item(TableName=tables["calls"], Key=key("call#a#b#c")),
    }.items():
        with pytest.raises(ClientError) as refused:
            act()
        assert "AccessDenied" in str(refused.value), what
