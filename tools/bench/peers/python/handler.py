"""The Twilio hook's job with boto3: check the signature, store the call, queue what it owes."""

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
CONFIG = Config(
    connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 3}
)
DYNAMODB = boto3.client("dynamodb", config=CONFIG)
SQS = boto3.client("sqs", config=CONFIG)

STATES = {
    "queued": "queued",
    "initiated": "queued",
    "ringing": "ringing",
    "in-progress": "in_progress",
    "completed": "ended",
    "busy": "ended",
    "failed": "ended",
    "no-answer": "ended",
    "canceled": "ended",
}


def read_sources():
    """Name, public URL and secrets of each source."""
    ssm = boto3.client("ssm", config=CONFIG)
    path = os.environ["PARAMETER_PREFIX"] + "/sources/twilio"
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path=path, Recursive=True, WithDecryption=True
    )
    sources = []
    for page in pages:
        for parameter in page["Parameters"]:
            source = json.loads(parameter["Value"])
            secrets = [secret.encode() for secret in source["secrets"]]
            sources.append((parameter["Name"].rpartition("/")[2], source["public_url"], secrets))
    return sources


# Read once, before the first invocation.
SOURCES = read_sources()


def handle(event, context):
    """Answers one event of an API Gateway HTTP API (payload format 2.0)."""
    signature = event["headers"].get("x-twilio-signature")
    if not signature:
        return reject(401, "X-Twilio-Signature is required", context)
    body = event.get("body") or ""
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    parameters = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    target = event["rawPath"]
    if event.get("rawQueryString"):
        target += "?" + event["rawQueryString"]
    source = find_source(target, parameters, signature)
    if source is None:
        return reject(403, "the signature does not match", context)

    fields = {}
    for name, value in parameters:
        value = value.strip()
        if value:
            fields.setdefault(name, value)
    call_id = fields.get("CallSid")
    if not call_id:
        return reject(400, "CallSid is required", context)

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
    return answer(200, {"accepted": int(is_new), "duplicates": int(not is_new)})


def find_source(target, parameters, signature):
    """The source one of whose secrets made the signature. Every secret is tried, whichever fits."""
    tail = "".join(name + value for name, value in sorted(set(parameters)))
    sent = signature.encode()
    found = None
    for name, public_url, secrets in SOURCES:
        signed = (public_url + target + tail).encode()
        for secret in secrets:
            expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha1))
            if hmac.compare_digest(expected, sent) and found is None:
                found = name
    return found


def call_item(source, call_id, fields, target, body, now):
    """The call as DynamoDB's low-level client takes it."""
    status = fields.get("CallStatus")
    state = STATES.get(status)
    item = {
        "pk": {"S": f"call#twilio#{source}#{call_id}"},
        "sk": {"S": "call"},
        "received_at": {"S": moment(datetime.fromtimestamp(now, timezone.utc))},
        "expires_at": {"N": str(int(now) + RETENTION_SECONDS)},
        "target": {"S": target},
        "raw": {"B": body},
    }
    for name, value in (
        ("state", state),
        ("status", status),
        ("at", stamp(fields.get("Timestamp"))),
        ("direction", fields.get("Direction")),
        ("from", fields.get("From") or fields.get("Caller")),
        ("to", fields.get("To") or fields.get("Called")),
        ("answered_by", fields.get("AnsweredBy")),
        ("parent", fields.get("ParentCallSid")),
        ("cause", fields.get("SipResponseCode")),
        ("recording_id", fields.get("RecordingSid")),
        ("recording_url", fields.get("RecordingUrl")),
    ):
        if value is not None:
            item[name] = {"S": value}
    for name, value in (
        ("recording_seconds", fields.get("RecordingDuration")),
        ("talk_seconds", fields.get("CallDuration")),
        ("sequence", fields.get("SequenceNumber")),
    ):
        if value is not None and value.isascii() and value.isdigit():
            item[name] = {"N": value}
    if state == "ended" and "parent" not in item:
        item["due_shard"] = {"S": f"{ord(call_id[-1]) % 16:02}"}
        item["due_at"] = {"N": str(int(now * 1_000) + SETTLE_SECONDS * 1_000)}
    return item


def moment(at):
    """RFC 3339 with milliseconds, in UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1_000:03}Z"


def stamp(text):
    """A time as Twilio writes it, RFC 2822. One that cannot be read is left out."""
    if text is None:
        return None
    try:
        return moment(email.utils.parsedate_to_datetime(text).astimezone(timezone.utc))
    except ValueError:
        return None


def put(item):
    """Stores a call if there is none. False: there is."""
    try:
        DYNAMODB.put_item(
            TableName=TABLE,
            Item=item,
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except DYNAMODB.exceptions.ConditionalCheckFailedException:
        return False
    return True


def reject(status, error, context):
    """A request that is not taken."""
    log("warn", "webhook rejected", context, status=status)
    return answer(status, {"error": error})


def answer(status, body):
    """An answer as API Gateway takes it."""
    headers = {"content-type": "application/json"}
    return {
        "statusCode": status,
        "headers": headers,
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def log(level, message, context, **fields):
    """One line of JSON."""
    line = {"level": level, "message": message, **fields, "request_id": context.aws_request_id}
    print(json.dumps(line))
