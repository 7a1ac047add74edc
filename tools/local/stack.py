"""A deployed local stack as its users see it: send webhooks, configure, look at calls."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from boto3.dynamodb.conditions import Attr, Key

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "infra" / "local"), str(ROOT / "tools" / "samples")]

import deploy as deploying  # noqa: E402
import start as starting  # noqa: E402
import state as states  # noqa: E402
import stop as stopping  # noqa: E402
from http_file import EVENTS, Request  # noqa: E402

T = TypeVar("T")
SIGNING_SECRET = "whsec_ZmFrZS1zaWduaW5nLXNlY3JldC1mb3Itc2FtcGxlcy0wMQ=="


@dataclass
class Reply:
    """What a webhook was answered."""

    status: int
    headers: dict[str, str]
    body: Any


def rejections(answers: list[Reply]) -> list[str]:
    """What was rejected of the messages that got these answers, in their order: whole bodies, and single
    records of those that were taken."""
    found = []
    for answer in answers:
        body = answer.body if isinstance(answer.body, dict) else {}
        if "rejected" in body:
            found += [record["error"] for record in body["rejected"]]
        elif answer.status >= 300:
            found.append(body.get("error", str(answer.body)))
    return found


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 60) -> T:
    """Asks until the condition gives something; fails saying what did not come about."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


class Stack:
    """A running local AWS with the stack on it."""

    def __init__(self, directory: Path, auth: bool = False) -> None:
        self.directory = directory
        starting.start(directory, auth)
        self.state = deploying.deploy(directory)
        self.stack = self.state["stack"]
        session = boto3.Session(
            aws_access_key_id=self.state["environment"]["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.state["environment"]["AWS_SECRET_ACCESS_KEY"],
            region_name=self.state["region"],
        )
        self.client = lambda name: session.client(name, endpoint_url=self.state["endpoint"])
        database = session.resource("dynamodb", endpoint_url=self.state["endpoint"])
        self.calls = database.Table(self.stack["tables"]["calls"])
        self._ssm = self.client("ssm")

    def stop(self) -> None:
        """Stops it and everything it started."""
        stopping.stop(self.directory)

    # --- Configuration ---

    def configure(self, name: str, value: dict) -> None:
        """Writes a parameter, as `sources/twilio/twilio` or `destinations/crm`."""
        self._ssm.put_parameter(
            Name=f"{self.stack['parameter_prefix']}/{name}",
            Value=json.dumps(value),
            Type="SecureString",
            Overwrite=True,
        )

    def forget(self, name: str) -> None:
        """Deletes a parameter."""
        self._ssm.delete_parameter(Name=f"{self.stack['parameter_prefix']}/{name}")

    def refresh(self) -> None:
        """Makes every function read its configuration again, as a deployment does."""
        client = self.client("lambda")
        for name in self.stack["functions"].values():
            settings = client.get_function_configuration(FunctionName=name)["Environment"]
            variables = settings["Variables"] | {"CONFIGURED_AT": str(time.time_ns())}
            client.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )

    # --- Webhooks ---

    def send(self, request: Request) -> Reply:
        """Sends a request to the API, as its provider would."""
        sent = urllib.request.Request(
            self.stack["base_url"] + request.target,
            data=request.body or None,
            headers={k: v for k, v in request.headers.items() if k.lower() != "host"},
            method=request.method,
        )
        try:
            with urllib.request.urlopen(sent, timeout=30) as answer:
                status, headers, body = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, headers, body = error.code, error.headers, error.read()
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = body.decode(errors="replace")
        return Reply(status, {k.lower(): v for k, v in headers.items()}, parsed)

    # --- Calls ---

    def call(self, key: str) -> dict | None:
        """A call as it is stored."""
        found = self.calls.get_item(Key={"pk": pk(key), "sk": "call"}, ConsistentRead=True)
        return found.get("Item")

    def deliveries(self, key: str) -> dict[str, dict]:
        """The deliveries of a call, by `destination#event`."""
        found = self.calls.query(
            KeyConditionExpression=Key("pk").eq(pk(key)) & Key("sk").begins_with("delivery#"),
            ConsistentRead=True,
        )
        return {item["sk"].removeprefix("delivery#"): item for item in found["Items"]}

    def settled(self, key: str) -> dict | None:
        """A call that owes nothing more, and all of whose deliveries are over."""
        call = self.call(key)
        if not call or call.get("owed"):
            return None
        waiting = [one for one in self.deliveries(key).values() if one["state"] == "pending"]
        return None if waiting else call

    def items(self, prefix: str) -> list[dict]:
        """Every item whose partition key has a prefix."""
        wanted = {"FilterExpression": Attr("pk").begins_with(prefix)}
        page = self.calls.scan(**wanted)
        items = page["Items"]
        while "LastEvaluatedKey" in page:
            page = self.calls.scan(**wanted, ExclusiveStartKey=page["LastEvaluatedKey"])
            items += page["Items"]
        return items

    def logs(self, function: str) -> list[str]:
        """What a function has logged."""
        client = self.client("logs")
        group = self.stack["log_groups"][function]
        lines: list[str] = []
        try:
            pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
            for page in pages:
                lines += [event["message"] for event in page["events"]]
        except client.exceptions.ResourceNotFoundException:
            pass
        return lines

    def records(self, function: str) -> list[dict]:
        """What a function has logged itself: its JSON lines, metrics among them."""
        return [json.loads(line) for line in self.logs(function) if line.startswith("{")]


def pk(key: str) -> str:
    """The partition key of a call: `provider/source/call id` with other separators."""
    provider, source, call_id = key.split("/", 2)
    return f"call#{provider}#{source}#{call_id}"


def correlation_id(key: str) -> str:
    """The id of everything that happens to a call, from its webhook to the CRM: derived from its key."""
    digest = hashlib.sha256()
    for part in key.split("/", 2):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:32]


def sample_sources(elevenlabs_url: str) -> dict[str, dict]:
    """The sources of the samples, by parameter name."""
    sources = {}
    for path in EVENTS.glob("*/source*.json"):
        provider = path.parent.name
        name = path.name.removeprefix("source").removesuffix("json").strip(".") or provider
        sources[f"sources/{provider}/{name}"] = json.loads(path.read_text())
    sources["sources/elevenlabs/elevenlabs"]["api_url"] = elevenlabs_url
    return sources


def sample_destinations(crm_url: str) -> dict[str, dict]:
    """Two CRMs: one of the flat format, one of ours that also takes updates."""
    return {
        "destinations/crm": {
            "url": f"{crm_url}/crm",
            "format": "conversation-ai",
            "signing_secrets": [SIGNING_SECRET],
        },
        "destinations/warehouse": {
            "url": f"{crm_url}/warehouse",
            "format": "canonical",
            "signing_secrets": [SIGNING_SECRET],
            "filter": {"events": ["call.completed", "call.updated"]},
        },
    }
