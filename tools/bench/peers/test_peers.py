"""Every peer, and the hook if it is built, does the same job: same answers, same requests, same item.

The programs run as processes against stand-ins: a Runtime API, and DynamoDB, SQS and SSM over TLS
that check every request's signature. `SWITCHBOARD_HOOK` names another binary of the hook.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import time
import tomllib
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from aws_stand_ins import ACCESS_KEY, SECRET_KEY, Aws, RuntimeApi, make_certificates

ROOT = Path(__file__).resolve().parents[3]
EVENTS = ROOT / "events" / "twilio"
SOURCE = json.loads((EVENTS / "source.json").read_text())
HOOK = Path(os.environ.get("SWITCHBOARD_HOOK", ROOT / "target/lambda/twilio/bootstrap"))
PEERS = {
    peer["name"]: peer
    for peer in tomllib.loads((Path(__file__).parents[1] / "programs.toml").read_text())["peer"]
}


class Program:
    """A program that runs, and what it is run against."""

    def __init__(self, command: list[str], folder: Path, handler: str, certificates: Path) -> None:
        self.aws = Aws(certificates, {"/switchboard/bench/sources/twilio/twilio": json.dumps(SOURCE)})
        self.api = RuntimeApi()
        authority = str(certificates / "authority.pem")
        queue = f"{self.aws.url('sqs')}/123456789012/enrich"
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "twilio",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/twilio",
            "AWS_LAMBDA_LOG_STREAM_NAME": "test",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": "fake-session-token",
            "AWS_ENDPOINT_URL_DYNAMODB": self.aws.url("dynamodb"),
            "AWS_ENDPOINT_URL_SQS": self.aws.url("sqs"),
            "AWS_ENDPOINT_URL_SSM": self.aws.url("ssm"),
            "SSL_CERT_FILE": authority,
            "AWS_CA_BUNDLE": authority,
            "NODE_EXTRA_CA_CERTS": authority,
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": handler,
            "STAGE": "bench",
            "CALLS_TABLE": "calls",
            "ENRICH_QUEUE_URL": queue,
            "PARAMETER_PREFIX": "/switchboard/bench",
            "RETENTION_DAYS": "400",
        }
        # Not into a pipe: nobody reads it before the end.
        self._said = (certificates / f"said-{self.api.address.rpartition(':')[2]}").open("w+b")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self._said, stderr=subprocess.STDOUT
        )

    def said(self) -> str:
        """What it has printed."""
        return Path(self._said.name).read_text(errors="replace")

    def call(self, event: dict) -> tuple[int, dict, list[str]]:
        """Status and body of its answer, and the AWS requests that it cost. 0: no answer but an error."""
        self.aws.asked.clear()
        outcome, answer = self.api.invoke(event, self.said)
        if outcome != "response":
            return 0, answer, self.operations()
        return answer["statusCode"], json.loads(answer["body"]), self.operations()

    def operations(self) -> list[str]:
        """The names of the operations that were asked for."""
        return [operation for operation, _ in self.aws.asked]

    def end(self) -> None:
        """Ends it, and what it ran against."""
        self.process.kill()
        self.process.wait()
        self._said.close()
        self.api.close()
        self.aws.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Path:
    """A folder with an authority and a certificate for localhost."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module", params=[*PEERS, "hook"])
def program(request, certificates):
    """Each of the programs in turn, started and asking for its first event."""
    if request.param == "hook":
        if not HOOK.is_file():
            pytest.skip(f"{HOOK} is not built")
        command, folder, handler = [str(HOOK)], HOOK.parent, "bootstrap"
    else:
        peer = PEERS[request.param]
        deployed = ROOT / peer["deploy"]
        assert deployed.exists(), f"{deployed} is not there; run: make bench-peers"
        folder = deployed if deployed.is_dir() else deployed.parent
        command = [part.replace("{folder}", str(folder)) for part in peer["command"]]
        # As a path, or found on PATH.
        found = str(ROOT / command[0]) if "/" in command[0] else shutil.which(command[0])
        assert found and Path(found).is_file(), f"{command[0]} is not installed"
        command, handler = [found, *command[1:]], peer["handler"]
    running = Program(command, folder, handler, certificates)
    running.api.wait_for_poll(running.said)
    yield running
    running.end()


def sample(name: str = "busy") -> dict:
    return json.loads((EVENTS / "gateway" / f"{name}.json").read_text())


def body_of(event: dict) -> bytes:
    return base64.b64decode(event["body"])


def signed(event: dict, body: bytes, secret: str) -> dict:
    """The event with another body, signed as Twilio does."""
    event = copy.deepcopy(event)
    url = SOURCE["public_url"] + event["rawPath"]
    if event["rawQueryString"]:
        url += "?" + event["rawQueryString"]
    pairs = sorted(set(parse_qsl(body.decode(), keep_blank_values=True)))
    text = url + "".join(name + value for name, value in pairs)
    signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha1))
    event["headers"]["x-twilio-signature"] = signature.decode()
    event["body"] = base64.b64encode(body).decode()
    return event


def call_id(number: int) -> str:
    """An id that no sample has."""
    return f"CAbe{number:030x}"


def new_call(number: int, secret: int = 0, more: bytes = b"") -> dict:
    """A call that was not there before."""
    event = sample()
    old = dict(parse_qsl(body_of(event).decode()))["CallSid"]
    body = body_of(event).replace(old.encode(), call_id(number).encode()) + more
    return signed(event, body, SOURCE["secrets"][secret])


def leaves(value):
    """Kind and value of every scalar in an item."""
    if isinstance(value, dict):
        for kind, inner in value.items():
            if isinstance(inner, str):
                yield kind, inner
            else:
                yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)


def test_parameters_are_read_before_the_first_poll(program):
    # The hook opens its other connections at the same time, by requests that do nothing.
    assert "GetParametersByPath" in program.aws.before_first_poll(program.api)
    asked = program.aws.first_of("GetParametersByPath")
    assert asked["Path"] == "/switchboard/bench/sources/twilio"
    assert asked["WithDecryption"] is True


def test_a_new_call_costs_one_put_and_one_send(program):
    event = new_call(1)
    status, answer, asked = program.call(event)
    assert (status, asked) == (200, ["PutItem", "SendMessage"])
    assert (answer["accepted"], answer["duplicates"]) == (1, 0)
    (_, put), (_, sent) = program.aws.asked
    assert put["TableName"] == "calls"
    assert put["ConditionExpression"] == "attribute_not_exists(pk)"
    assert put["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    item = put["Item"]
    own_id = call_id(1)
    assert item["pk"] == {"S": f"call#twilio#twilio#{own_id}"}
    assert item["sk"] == {"S": "call"}
    now = time.time()
    assert abs(int(item["expires_at"]["N"]) - now - 400 * 86_400) < 60
    assert abs(int(item["due_at"]["N"]) / 1_000 - now - 3) < 60
    assert item["due_shard"]["S"] in {f"{shard:02}" for shard in range(16)}
    seen = set(leaves(item))
    assert ("B", event["body"]) in seen
    for text in ("+61255501234", "+61491570156"):
        assert ("S", text) in seen
    assert json.loads(sent["MessageBody"]) == {"job": "enrich", "call": f"twilio/twilio/{own_id}"}
    assert sent["DelaySeconds"] == 3
    assert sent["QueueUrl"].endswith("/123456789012/enrich")


def test_a_duplicate_costs_one_put(program):
    event = new_call(2)
    assert program.call(event)[0] == 200
    status, answer, asked = program.call(event)
    assert (status, asked) == (200, ["PutItem"])
    assert (answer["accepted"], answer["duplicates"]) == (0, 1)


def test_who_does_not_know_the_secret_is_refused_without_a_request(program):
    event = signed(new_call(3), body_of(new_call(3)), "another-secret")
    status, _, asked = program.call(event)
    assert (status, asked) == (403, [])
    event["headers"]["x-twilio-signature"] = "no Base64 at all"
    assert program.call(event)[0] == 403
    del event["headers"]["x-twilio-signature"]
    status, _, asked = program.call(event)
    assert (status, asked) == (401, [])


def test_what_was_changed_on_the_way_is_refused(program):
    event = new_call(4)
    changed = body_of(event).replace(b"CallStatus=busy", b"CallStatus=failed")
    assert changed != body_of(event)
    event["body"] = base64.b64encode(changed).decode()
    assert program.call(event)[0] == 403
    event = new_call(4)
    event["rawQueryString"] = "campaign=x"
    assert program.call(event)[0] == 403


def test_every_secret_lets_in(program):
    assert program.call(new_call(5, secret=1))[0] == 200


def test_parameters_may_be_repeated_and_hold_anything(program):
    more = "&Z=b&Z=a&Z=b&a=lower&Name=J%C3%BCrgen+%26+S%C3%B8n&Empty=&B=%2B1"
    status, _, asked = program.call(new_call(6, more=more.encode()))
    assert (status, asked) == (200, ["PutItem", "SendMessage"])


def test_a_body_may_come_as_text(program):
    event = new_call(7)
    body = body_of(event)
    event["body"], event["isBase64Encoded"] = body.decode(), False
    assert program.call(event)[0] == 200
    (_, put), _ = program.aws.asked
    assert ("B", base64.b64encode(body).decode()) in set(leaves(put["Item"]))


@pytest.mark.parametrize("path", sorted(p.stem for p in (EVENTS / "gateway").glob("*.json")))
def test_every_sample_is_taken(program, path):
    assert program.call(sample(path))[0] == 200


def test_a_call_that_lasts_and_a_leg_of_another_owe_nothing(program):
    event = new_call(8)
    lasting = body_of(event).replace(b"CallStatus=busy", b"CallStatus=in-progress")
    status, _, asked = program.call(signed(event, lasting, SOURCE["secrets"][0]))
    assert (status, asked) == (200, ["PutItem"])
    status, _, asked = program.call(new_call(9, more=b"&ParentCallSid=CA0"))
    assert (status, asked) == (200, ["PutItem"])


def test_stored_is_accepted_though_it_was_not_queued(program):
    program.aws.fail("SendMessage")
    status, answer, asked = program.call(new_call(10))
    assert (status, answer["accepted"]) == (200, 1)
    assert asked == ["PutItem", "SendMessage"]


def test_what_was_not_stored_is_not_accepted(program):
    program.aws.fail("PutItem")
    status, _, asked = program.call(new_call(11))
    # An error of the invocation becomes a 500 at the gateway.
    assert status in (0, 500, 503)
    assert asked == ["PutItem"]


def test_a_fault_of_the_service_is_tried_again(program):
    program.aws.fail("PutItem", 500)
    status, _, asked = program.call(new_call(12))
    assert (status, asked) == (200, ["PutItem", "PutItem", "SendMessage"])


def test_connections_are_kept_and_opened_again(program):
    before = program.aws.opened
    for number in range(20, 30):
        assert program.call(new_call(number))[0] == 200
    assert program.aws.opened == before, "each service's connection is used again"
    program.aws.close_connections()
    time.sleep(0.1)
    status, _, asked = program.call(new_call(30))
    assert (status, asked) == (200, ["PutItem", "SendMessage"])
    # The parameters' connection is not needed again.
    assert 2 <= program.aws.opened - before <= 3


def test_every_request_is_signed(program):
    assert program.aws.complaints == []
    assert program.aws.checked > 0
