"""The Twilio hook's job with boto3: check the signature, store the call, queue its follow-up."""

import base64
import email.utils
import hashlib
import hmac
import json
import os
import time
from datetime import datetime, timezone
from urllib.parse import parse_qsl

import boto3
from botocore.config import Config

TABLE = os.environ["CALLS_TABLE"]
QUEUE = os.environ["ENRICH_QUEUE_URL"]
RETENTION_SECONDS = int(os.environ.get("RETENTION_DAYS", "400")) * 86_400
# Answering-machine results and recordings come within seconds of the end of a call.
SETTLE_SECONDS = 3

# Connections are kept alive: that is botocore's default.
RETRIES = {"mode": "standard", "total_max_attempts": 3}
CONFIG = Config(connect_timeout=1, read_timeout=3, retries=RETRIES)
DYNAMODB = boto3.client("dynamodb", config=CONFIG)
SQS = boto3.client("sqs", config=CONFIG)

STATES = {"queued": "queued", "initiated": "queued", "ringing": "ringing", "in-progress": "in_progress"}
STATES |= dict.fromkeys(("completed", "busy", "failed", "no-answer", "canceled"), "ended")


def read_sources():
    """Name, public URL and secrets of each source."""
    ssm = boto3.client("ssm", config=CONFIG)
    path = os.environ["PARAMETER_PREFIX"] + "/sources/twilio"
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path=path, Recursive=True, WithDecryption=True
    )
    sources = []
    for parameter in (parameter for page in pages for parameter in page["Parameters"]):
        source = json.loads(parameter["Value"])
        secrets = [secret.encode() for secret in source["secrets"]]
        sources.append((parameter["Name"].rpartition("/")[2], source["public_url"], secrets))
    return sources


# Read once, before the first invocation.
SOURCES = read_sources()


def handle(event, context):
    """Handles one event of an API Gateway HTTP API (payload format 2.0)."""
    signature = event["headers"].get("x-twilio-signature")
    if not signature:
        return respond(401, {"error": "X-Twilio-Signature is required"}, context)
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    parameters = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    target = event["rawPath"]
    if event.get("rawQueryString"):
        target += "?" + event["rawQueryString"]
    source = find_source(target, parameters, signature)
    if source is None:
        return respond(403, {"error": "the signature does not match"}, context)
    fields = {}
    for name, value in parameters:
        if value.strip():
            fields.setdefault(name, value.strip())
    call_id = fields.get("CallSid")
    if not call_id:
        return respond(400, {"error": "CallSid is required"}, context)

    item = call_item(source, call_id, fields, target, body, time.time())
    call = f"twilio/{source}/{call_id}"
    is_new = put(item)
    if is_new and "due_at" in item:
        message = json.dumps({"job": "enrich", "call": call})
        try:
            SQS.send_message(QueueUrl=QUEUE, MessageBody=message, DelaySeconds=SETTLE_SECONDS)
        except Exception as error:  # pylint: disable=broad-except
            # The item says that it is due: a sweep over it sends the message again.
            log("warn", "stored and not queued", context, call=call, error=type(error).__name__)
    log("info", "call stored" if is_new else "duplicate", context, call=call)
    return respond(200, {"accepted": int(is_new), "duplicates": int(not is_new)}, context)


def find_source(target, parameters, signature):
    """The source one of whose secrets made the signature. Every secret is tried, so that time reveals nothing."""
    tail = "".join(name + value for name, value in sorted(set(parameters)))
    found = None
    for name, public_url, secrets in SOURCES:
        signed = (public_url + target + tail).encode()
        for secret in secrets:
            expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha1))
            if hmac.compare_digest(expected, signature.encode()) and found is None:
                found = name
    return found


def call_item(source, call_id, fields, target, body, now):
    """The call for DynamoDB's low-level client."""
    state = STATES.get(fields.get("CallStatus"))
    parent = fields.get("ParentCallSid")
    texts = {
        "pk": f"call#twilio#{source}#{call_id}",
        "sk": "call",
        "received_at": moment(datetime.fromtimestamp(now, timezone.utc)),
        "target": target,
        "state": state,
        "status": fields.get("CallStatus"),
        "at": twilio_time(fields.get("Timestamp")),
        "direction": fields.get("Direction"),
        "from": fields.get("From") or fields.get("Caller"),
        "to": fields.get("To") or fields.get("Called"),
        "answered_by": fields.get("AnsweredBy"),
        "parent": parent,
        "cause": fields.get("SipResponseCode"),
        "recording_id": fields.get("RecordingSid"),
        "recording_url": fields.get("RecordingUrl"),
    }
    numbers = {
        "expires_at": str(int(now) + RETENTION_SECONDS),
        "recording_seconds": fields.get("RecordingDuration", ""),
        "talk_seconds": fields.get("CallDuration", ""),
        "sequence": fields.get("SequenceNumber", ""),
    }
    if state == "ended" and parent is None:
        texts["due_shard"] = f"{ord(call_id[-1]) % 16:02}"
        numbers["due_at"] = str(int(now * 1_000) + SETTLE_SECONDS * 1_000)
    item = {name: {"S": value} for name, value in texts.items() if value is not None}
    digits = {name: value for name, value in numbers.items() if value.isascii() and value.isdigit()}
    return item | {name: {"N": value} for name, value in digits.items()} | {"raw": {"B": body}}


def moment(at):
    """RFC 3339 with milliseconds, in UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1_000:03}Z"


def twilio_time(text):
    """A time in Twilio's format, RFC 2822; None if it is not valid."""
    try:
        return text and moment(email.utils.parsedate_to_datetime(text).astimezone(timezone.utc))
    except ValueError:
        return None


def put(item):
    """Stores a call if it is new; returns whether it is."""
    request = {"TableName": TABLE, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
    try:
        DYNAMODB.put_item(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    except DYNAMODB.exceptions.ConditionalCheckFailedException:
        return False
    return True


def respond(status, body, context):
    """A response for API Gateway. One that rejects is logged."""
    if status != 200:
        log("warn", "webhook rejected", context, status=status)
    response = {"statusCode": status, "body": json.dumps(body), "isBase64Encoded": False}
    return response | {"headers": {"content-type": "application/json"}}


def log(level, message, context, **fields):
    """One line of JSON."""
    line = {"level": level, "message": message, **fields, "request_id": context.aws_request_id}
    print(json.dumps(line))
